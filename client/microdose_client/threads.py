"""Between the event loop and threads: blocking work for coroutines, and coroutines for blocking code.

AsyncClient ── in_thread ──► decoding, files, hashes
Client ─────── Loop.run ───► the same coroutines, on an event loop in a thread of its own
"""

import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from concurrent.futures import CancelledError, Future
from contextlib import ExitStack
from functools import partial
from typing import ParamSpec, Protocol, Self, TypeVar

from anyio import to_thread
from anyio.from_thread import BlockingPortal, start_blocking_portal

from microdose.errors import Unavailable
from microdose_client.crew import CLOSED

P = ParamSpec("P")
T = TypeVar("T")


class Run(Protocol):
    """What blocking code needs to use coroutines: runs `work` to its end and returns what it returns."""

    def __call__(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T: ...


async def in_thread(work: Callable[P, T], *args: P.args, **kwargs: P.kwargs) -> T:
    """`work(*args)` in a thread, so that it keeps nobody waiting."""
    return await to_thread.run_sync(partial(work, *args, **kwargs))


async def with_run(work: Callable[[Run], T]) -> T:
    """`work` in a thread, given the means to run coroutines on this event loop; ends with its task."""
    async with BlockingPortal() as portal:
        try:
            done = await to_thread.run_sync(_attempt, work, partial(_run, portal), abandon_on_cancel=True)
        finally:
            await portal.stop(cancel_remaining=True)
    return done.result()


def _attempt(work: Callable[[Run], T], run: Run) -> Future[T]:
    """What came of it, also an error: raised inside a portal it would come out in an ExceptionGroup."""
    done = Future[T]()
    try:
        done.set_result(work(run))
    except Exception as error:
        done.set_exception(error)
    return done


class Loop:
    """Runs coroutines for blocking code, on one event loop for all threads; it starts at the first."""

    def __init__(self) -> None:
        self._stack, self._lock = ExitStack(), threading.Lock()
        self._portal: BlockingPortal | None = None
        self.closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def run(self, work: Callable[P, Awaitable[T]], *args: P.args, **kwargs: P.kwargs) -> T:
        """What `work` returns or raises; an interrupt of the waiting thread cancels it.

        Raises Unavailable if the loop is closed, or was while this waited.
        """
        with self._lock:
            if self.closed:
                raise Unavailable(CLOSED)
            if self._portal is None:
                self._portal = self._stack.enter_context(start_blocking_portal())
            portal = self._portal
        try:
            return _run(portal, work, *args, **kwargs)
        except (CancelledError, RuntimeError) as error:
            if self.closed:
                raise Unavailable(CLOSED) from error
            raise

    def iterate(self, items: AsyncGenerator[T]) -> Iterator[T]:
        """The items one by one, each awaited when it is asked for; closed with the iterator."""
        try:
            while True:
                try:
                    yield self.run(anext, items)
                except StopAsyncIteration:
                    return
        finally:
            if not self.closed:
                self.run(items.aclose)

    def close(self) -> None:
        """Cancel what still runs, and end the event loop and its thread."""
        with self._lock:
            self.closed = True
            if self._portal is not None:
                self._portal.call(self._portal.stop, True)
            self._stack.close()
            self._portal = None


def _run(portal: BlockingPortal, work: Callable[P, Awaitable[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
    future = portal.start_task_soon(partial(work, *args, **kwargs))
    try:
        return future.result()
    except BaseException:
        future.cancel()
        raise
