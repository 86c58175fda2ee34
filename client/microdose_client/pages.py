"""Lists that a server gives page by page, as one."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from typing import TypeVar

from microdose.resources import Job, Page, Sequence

PAGE = 100
T = TypeVar("T", Job, Sequence)


async def every(page: Callable[[int, str | None], Awaitable[Page[T]]]) -> AsyncGenerator[T]:
    """All items of a list; the next page is fetched when the last one is used up."""
    cursor: str | None = None
    while True:
        part = await page(PAGE, cursor)
        for item in part.items:
            yield item
        cursor = part.next
        if cursor is None:
            return
