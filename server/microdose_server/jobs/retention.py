"""How long the records of ended jobs stay.

A sequence keeps the record of its present job as long as it is there itself, with the last event alone.
"""

from datetime import datetime

import redis

from microdose import keys
from microdose.errors import NotFound
from microdose.resources import Job
from microdose_server.jobs.records import Jobs
from microdose_server.store.redis import text
from microdose_server.store.sequences import Sequences


def forget_jobs(client: redis.Redis, before: datetime) -> int:
    """Remove what is kept of jobs that ended before that time; returns how many records went."""
    jobs, gone = Jobs(client), 0
    for name in (text(name) for name in client.zrange(keys.jobs(), 0, -1)):
        try:
            job = jobs.get(name)
        except NotFound:  # another process was faster
            continue
        if job.created >= before:
            break  # ids sort by time: the rest is younger still
        if job.ended is None or job.ended >= before:
            continue
        if _is_present(client, job):
            client.xtrim(keys.job_events(job.id), maxlen=1, approximate=False)
        else:
            _remove(client, job)
            gone += 1
    return gone


def _is_present(client: redis.Redis, job: Job) -> bool:
    """Whether a sequence still points to this job."""
    try:
        return Sequences(client).get(job.sequence).job == job.id
    except NotFound:
        return False


def _remove(client: redis.Redis, job: Job) -> None:
    with client.pipeline() as pipeline:
        pipeline.zrem(keys.jobs(), job.id)
        pipeline.delete(keys.job(job.id), keys.job_events(job.id))
        pipeline.execute()
