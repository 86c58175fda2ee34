"""A list in pages, as one."""

import asyncio
from datetime import UTC, datetime

from microdose.ids import new_id
from microdose.resources import Job, JobState, Page
from microdose_client.pages import PAGE, every

JOBS = tuple(
    Job(id=new_id(), sequence=new_id(), state=JobState.QUEUED, created=datetime.now(UTC)) for _ in "abc"
)
PAGES = {None: Page[Job](items=JOBS[:2], next="more"), "more": Page[Job](items=JOBS[2:])}


def test_every_item_comes_once_and_pages_only_when_they_are_needed() -> None:
    asked: list[tuple[int, str | None]] = []

    async def page(limit: int, cursor: str | None) -> Page[Job]:
        asked.append((limit, cursor))
        return PAGES[cursor]

    async def main() -> None:
        jobs = every(page)
        assert (await anext(jobs), await anext(jobs)) == JOBS[:2]
        assert asked == [(PAGE, None)]
        assert [job async for job in jobs] == list(JOBS[2:])
        assert asked == [(PAGE, None), (PAGE, "more")]

    asyncio.run(main())
