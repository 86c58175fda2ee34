"""The API's looks for lost jobs, which nothing may end."""

import asyncio
from itertools import count

import pytest
import redis

from microdose import keys
from microdose_server.api.recovering import recovering
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.recovery import Recovery
from microdose_server.settings import Settings
from microdose_server.store.lock import poll
from tests.workers import PATIENCE_S, enqueue


def test_whatever_a_look_meets_is_told_and_the_next_one_comes(
    bus: redis.Redis, caplog: pytest.LogCaptureFixture
) -> None:
    job, queue, clock = enqueue(bus, "publishing"), JobQueue(bus), count(step=1000)
    queue.lines[job.priority].remove(job.id)
    bus.set(keys.fence(job.sequence), "no number")

    async def look() -> None:
        async with recovering(Recovery(queue, Settings(), lambda: next(clock)), 0.01):
            assert await asyncio.to_thread(poll, lambda: "no look for lost jobs" in caplog.text, PATIENCE_S)
            bus.delete(keys.fence(job.sequence))
            assert await asyncio.to_thread(poll, lambda: queue.waiting() == [job.id], PATIENCE_S)

    asyncio.run(look())
