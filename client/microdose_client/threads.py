"""Between the event loop and threads: blocking work for coroutines, and coroutines for blocking code.

AsyncClient ── in_thread ──► decoding, files, hashes
Client ─────── Loop.run ───► the same coroutines, on an event loop in a thread of its own
"""

import asyncio
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from functools import partial
from typing import Any, ParamSpec, Protocol, Self, TypeVar

from anyio import to_thread

from microdose.errors import Unavailable
from microdose_client.crew import CLOSED

ENDING_S = 10.0
P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    """What blocking code needs to use coroutines: runs `work` to its end and returns what it returns."""

    def __call__(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work(*args)` in a thread, so that it keeps nobody waiting."""
    return await to_thread.run_sync(partial(work, *args, **kwargs))


async def with_run(work: Callable[[Run], T]) -> T:
    """`work` in a thread, given the means to run coroutines on this event loop; it ends with this task."""
    bridge = _Bridge(asyncio.get_running_loop())
    try:
        return await to_thread.run_sync(work, bridge.run, abandon_on_cancel=True)
    finally:
        bridge.close()


class _Bridge:
    """Lets threads run coroutines on an event loop that runs elsewhere."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop, self._closed = loop, False
        self._running: set[Future[Any]] = set()
        self._lock = threading.Lock()

    def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises. An interrupt of the waiting thread cancels it and waits for its end.

        Raises Unavailable if this is closed, or was meanwhile.
        """
        ended = threading.Event()

        async def whole() -> T:
            try:
                return await work(*args, **kwargs)
            finally:
                ended.set()

        with self._lock:
            if self._closed:
                raise Unavailable(CLOSED)
            future = asyncio.run_coroutine_threadsafe(whole(), self._loop)
            self._running.add(future)
        try:
            return future.result()
        except CancelledError:
            raise Unavailable(CLOSED) from None
        except BaseException:
            if future.cancel():  # it was not its own error: whoever comes next finds nothing half done
                ended.wait(ENDING_S)
            raise
        finally:
            self._running.discard(future)

    def close(self) -> None:
        """Cancel what runs, and run nothing any more."""
        with self._lock:
            self._closed = True
            for future in list(self._running):
                future.cancel()


class Loop:
    """Runs coroutines for blocking code, on one event loop for all threads; it starts at the first."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._bridge: _Bridge | None = None
        self._thread: threading.Thread | None = None
        self._end: Callable[[], object] = self.close
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises; an interrupt of the waiting thread cancels it.

        Raises Unavailable if this is closed, or was while it waited.
        """
        return self._started().run(work, *args, **kwargs)

    def iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        """The items one by one, each awaited when it is asked for; closed with the iterator."""
        while True:
            try:
                item = self.run(anext, items)
            except StopAsyncIteration:
                return
            try:
                yield item
            except GeneratorExit:
                if not self.closed:
                    self.run(items.aclose)
                raise

    def close(self) -> None:
        """Cancel what still runs, and end the event loop and its thread."""
        with self._lock:
            self.closed = True
        if self._bridge is not None and self._thread is not None:
            self._bridge.close()
            self._end()
            self._thread.join()

    def _started(self) -> _Bridge:
        with self._lock:
            if self.closed:
                raise Unavailable(CLOSED)
            if self._bridge is None:
                running = Future[asyncio.AbstractEventLoop]()
                self._thread = threading.Thread(target=asyncio.run, args=(self._stand(running),), daemon=True)
                self._thread.start()
                self._bridge = _Bridge(running.result())
            return self._bridge

    async def _stand(self, running: "Future[asyncio.AbstractEventLoop]") -> None:
        """Keep the event loop going until `close`."""
        loop, stop = asyncio.get_running_loop(), asyncio.Event()
        self._end = partial(loop.call_soon_threadsafe, stop.set)
        running.set_result(loop)
        await stop.wait()
