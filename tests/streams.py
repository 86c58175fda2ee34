"""Redis streams as tests look at them."""

import redis

from microdose import keys
from microdose.resources import JobEvent
from microdose_server.store.bus import read_stream


def entries(client: redis.Redis, key: str, after: str = "0-0") -> list[tuple[str, bytes]]:
    """All entries later than the id `after`, as (id, event JSON)."""
    return read_stream(client, key, after, count=100_000)


def job_events(client: redis.Redis, job: str) -> list[JobEvent]:
    """All that happened to a job so far."""
    return [JobEvent.model_validate_json(data) for _, data in entries(client, keys.job_events(job))]
