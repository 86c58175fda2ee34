"""The API's part in finding jobs that nobody works on: busy workers do not look, and idle ones may be few."""

import asyncio
import logging
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import redis
from anyio import to_thread

from microdose_server.jobs.recovery import Recovery

log = logging.getLogger(__name__)


@asynccontextmanager
async def recovering(recovery: Recovery, every_s: float) -> AsyncIterator[None]:
    """Look again and again while the context lasts."""
    task = asyncio.create_task(_look(recovery, every_s), name="recovery")
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


async def _look(recovery: Recovery, every_s: float) -> None:
    while True:
        await asyncio.sleep(every_s)
        try:
            found = await to_thread.run_sync(recovery.look, abandon_on_cancel=True)
        except redis.RedisError as error:
            log.warning("no look for lost jobs: %s", error)
            continue
        except Exception:  # nobody would look again, and nobody would hear of it
            log.exception("no look for lost jobs")
            continue
        for job in found:
            log.warning("job %s was lost, and is now %s", job.id, job.state)
