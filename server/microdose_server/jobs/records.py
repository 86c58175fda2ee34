"""The record of a job in Redis: a hash with its present state, a stream with all that happened to it."""

from collections.abc import Callable

import redis
from redis.client import Pipeline

from microdose import keys
from microdose.errors import NotFound
from microdose.resources import Job, JobEvent, Page
from microdose_server.store.fields import from_fields, to_field, to_fields
from microdose_server.store.redis import text
from microdose_server.store.scripts import run_script
from microdose_server.store.sequences import page_of_ids

MAX_EVENTS = 20_000


class Jobs:
    """All jobs of one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    @staticmethod
    def create(job: Job, work: str, pipeline: Pipeline) -> None:
        """Record a new job as a part of `pipeline`; `work` is the function that will do it."""
        pipeline.hset(keys.job(job.id), mapping=to_fields(job) | {"work": work})
        pipeline.xadd(keys.job_events(job.id), {"event": JobEvent(type="state", job=job).to_bytes()})
        pipeline.zadd(keys.jobs(), {job.id: 0})
        pipeline.zadd(keys.open_jobs(), {job.id: 0})

    def get(self, job: str) -> Job:
        """Raises NotFound."""
        fields = self.client.hgetall(keys.job(job))
        if not fields:
            raise NotFound(f"no job {job}")
        return from_fields(Job, fields)

    def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Job]:
        """Newest first; `cursor` is the `next` of the page before."""
        ids, following = page_of_ids(self.client, keys.jobs(), limit, cursor)
        records = [self.client.hgetall(keys.job(name)) for name in ids]
        found = tuple(from_fields(Job, fields) for fields in records if fields)
        return Page[Job](items=found, next=following)

    def work(self, job: str) -> str:
        """The function that does it, as `package.module.name`. Raises NotFound."""
        name = self.client.hget(keys.job(job), "work")
        if name is None:
            raise NotFound(f"no job {job}")
        return text(name)

    def unfinished(self, unreadable: Callable[[str, Exception], object] = lambda *_: None) -> list[Job]:
        """The queued and the running ones that can be read, oldest first; some may have ended just now.

        `unreadable` is told the others, each with its error.
        """
        found = []
        for name in map(text, self.client.zrange(keys.open_jobs(), 0, -1)):
            try:
                found.append(self.get(name))
            except NotFound:
                self.close(name)
            except ValueError as error:  # one must not hide the others
                unreadable(name, error)
        return found

    def close(self, job: str) -> None:
        """Take a job that has ended off the list of those that have not."""
        self.client.zrem(keys.open_jobs(), job)

    def write(self, job: Job, token: int) -> bool:
        """Replace the record and tell its readers.

        Returns:
            False when the job has ended already (a record that says `ended` never changes) or is gone.

        Raises:
            Fenced: a newer attempt writes this record.
        """
        before = self.client.hget(keys.job(job.id), "state")
        changed = before is None or text(before) != to_field(job.state)
        event = JobEvent(type="state" if changed else "progress", job=job)
        pairs = [text(part) for pair in to_fields(job).items() for part in pair]
        names = [keys.job(job.id), keys.job_events(job.id)]
        return bool(run_script(self.client, "job", names, [token, MAX_EVENTS, event.to_bytes(), *pairs]))
