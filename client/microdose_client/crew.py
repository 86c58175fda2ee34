"""Background tasks with an owner: whoever starts work here ends it here, and no task outlives its client."""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from microdose.errors import Unavailable

CLOSED = "the client is closed"
T = TypeVar("T")


class Crew:
    """Tasks that belong together. A crew made `of` another ends with it, if not before."""

    def __init__(self, of: "Crew | None" = None) -> None:
        self._tasks: set[asyncio.Task[Any]] = set()
        self._crews: set[Crew] = set()
        self._parent = of
        if of is not None:
            of._crews.add(self)

    def start(self, work: Coroutine[Any, Any, T]) -> "asyncio.Task[T]":
        """Run `work` beside everything else. Its error waits for whoever awaits the task."""
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        return task

    async def close(self) -> None:
        """Cancel every task and wait until it has let go of what it holds."""
        while self._crews:
            await self._crews.pop().close()
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._parent is not None:
            self._parent._crews.discard(self)

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # seen, if nobody else should ask


async def outcome(task: "asyncio.Task[T]") -> T:
    """What a crew's task returns or raises; Unavailable if its crew has ended it."""
    await asyncio.wait([task])
    if task.cancelled():
        raise Unavailable(CLOSED)
    return task.result()
