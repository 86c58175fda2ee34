"""One way to drive both clients: every call awaited, every iterator asynchronous, whatever lies beneath."""

import asyncio
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
from functools import partial
from types import TracebackType
from typing import Any, Self

from anyio import to_thread

from microdose_client import AsyncClient, Client

Either = Client | AsyncClient


class Viewer:
    """A `Client` at work in threads, or an `AsyncClient` on the test's own event loop."""

    def __init__(self, client: Either) -> None:
        self.client = client

    async def ask(self, method: str, *args: Any, **options: Any) -> Any:
        """What a method returns."""
        work = partial(getattr(self.client, method), *args, **options)
        return await (work() if isinstance(self.client, AsyncClient) else to_thread.run_sync(work))

    async def each(self, method: str, *args: Any, **options: Any) -> AsyncGenerator[Any]:
        """What a method iterates over."""
        items = getattr(self.client, method)(*args, **options)
        if isinstance(self.client, AsyncClient):
            async with aclosing(items):
                async for item in items:
                    yield item
            return
        try:
            while (item := await to_thread.run_sync(next, items, None, abandon_on_cancel=True)) is not None:
                yield item
        except asyncio.CancelledError:  # a thread cannot be cancelled, but it ends with its client
            await to_thread.run_sync(self.client.close)
            raise
        finally:
            await to_thread.run_sync(items.close)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.ask("aclose" if isinstance(self.client, AsyncClient) else "close")


class OnALoop:
    """An `AsyncClient` called without await: its event loop runs for as long as each call takes."""

    def __init__(self, *args: Any, **options: Any) -> None:
        self._runner, self._client = asyncio.Runner(), AsyncClient(*args, **options)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._runner.run(self._client.aclose())
        self._runner.close()

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._client, name)

        def call(*args: Any, **options: Any) -> Any:
            result = method(*args, **options)
            return self._iterate(result) if isinstance(result, AsyncGenerator) else self._runner.run(result)

        return call

    def _iterate(self, items: AsyncGenerator[Any]) -> Iterator[Any]:
        async def step() -> Any:
            return await anext(items, None)

        try:
            while (item := self._runner.run(step())) is not None:
                yield item
        finally:
            self._runner.run(items.aclose())
