"""Jobs: list, look at or wait for, follow, cancel."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, suppress
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends
from starlette.responses import Response, StreamingResponse

from microdose import keys
from microdose.resources import Job, JobEvent, Page
from microdose_server.api import sse
from microdose_server.api.auth import LISTEN, PUBLISH, READ
from microdose_server.api.ids import JobId
from microdose_server.api.problem import problems
from microdose_server.api.pump import START, StreamLost, is_later
from microdose_server.api.query import Cursor, Limit, Wait
from microdose_server.api.services import Here, Services

router = APIRouter(prefix="/jobs", tags=["jobs"])


@router.get("", dependencies=[READ])
def page(here: Here, limit: Limit = 50, cursor: Cursor = None) -> Page[Job]:
    """All jobs, newest first."""
    return here.jobs.page(limit=limit, cursor=cursor)


@router.get("/{job}", dependencies=[READ], responses=problems("not-found"))
async def read(here: Here, job: JobId, wait: Wait = 0) -> Job:
    """Its state and progress; with `wait`, once it has ended or after that many seconds."""
    key = keys.job_events(job)
    after = await here.pump.last_id(key)  # before the record: what changes between the two is seen below
    record = await to_thread.run_sync(here.jobs.get, job)
    if record.state.final or not wait:
        return record
    try:
        async with asyncio.timeout(wait), aclosing(here.pump.follow(key, after, quiet_s=wait)) as entries:
            async for entry in entries:
                if entry and JobEvent.model_validate_json(entry.data).job.state.final:
                    break
    except (TimeoutError, StreamLost):
        pass
    return await to_thread.run_sync(here.jobs.get, job)


@router.get(
    "/{job}/events",
    dependencies=[LISTEN],
    response_class=StreamingResponse,
    responses=sse.DOCUMENTED
    | problems("not-found", "too-many-requests")
    | {204: {"description": "It has ended, and all of it was told"}},
)
async def follow(here: Here, job: JobId, after: Annotated[str, Depends(sse.resume_id)]) -> Response:
    """`state` and `progress`, from Last-Event-ID or the beginning until the job has ended.

    204 if that was the last event there will be: browsers then stop asking.
    """
    record = await to_thread.run_sync(here.jobs.get, job)
    newest = await here.pump.last_id(keys.job_events(job))
    if record.state.final and not is_later(newest, after):
        return Response(status_code=204)
    return sse.respond(_events(here, job, START if is_later(after, newest) else after))


async def _events(here: Services, job: str, after: str) -> AsyncIterator[bytes]:
    yield sse.opening()
    with suppress(StreamLost):  # who comes back is told whether there still is such a job
        async with aclosing(sse.stream(here.pump, keys.job_events(job), after)) as entries:
            async for entry in entries:
                if entry is None:
                    yield sse.ping()
                    continue
                event = JobEvent.model_validate_json(entry.data)
                yield sse.message(event.type, entry.data, entry.id)
                if event.job.state.final:
                    return
    yield sse.bye()


@router.post("/{job}/cancel", status_code=202, dependencies=[PUBLISH], responses=problems("not-found"))
def cancel(here: Here, job: JobId) -> Job:
    """Stop it and free what it holds. A job that has ended stays as it is."""
    return here.queue.cancel(job)
