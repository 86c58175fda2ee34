"""One request for many: who wants what is being fetched already waits for that."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from functools import partial
from types import TracebackType
from typing import Any, Self, TypeVar

T = TypeVar("T")


class Flights:
    """What is under way, by name. An async context manager that cancels the rest at its end."""

    def __init__(self) -> None:
        self._tasks: dict[Hashable, asyncio.Task[Any]] = {}

    def __contains__(self, name: Hashable) -> bool:
        """Whether this is under way."""
        return name in self._tasks

    async def join(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        """What the work of this `name` returns or raises: that under way, or `work`, begun now.

        It goes on even if all who wait for it leave.
        """
        return await asyncio.shield(self.begin(name, work))

    def begin(self, name: Hashable, work: Callable[[], Coroutine[Any, Any, T]]) -> asyncio.Task[T]:
        """As `join`, for who does not wait."""
        task: asyncio.Task[T] | None = self._tasks.get(name)
        if task is None:
            task = self._tasks[name] = asyncio.create_task(work())
            task.add_done_callback(partial(self._landed, name))
        return task

    def _landed(self, name: Hashable, task: asyncio.Task[Any]) -> None:
        del self._tasks[name]
        if not task.cancelled():
            task.exception()  # looked at, also if nobody waits any more

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        tasks = list(self._tasks.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
