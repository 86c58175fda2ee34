"""Jobs that nobody works on any more, found and brought back.

    unfinished job --in line, or its lease is held--> fine
                   --neither, at two looks----------> in line again, or failed as worker-lost

Everything that can be cut off leaves this one trace: a worker or its machine that died, a job popped by a
worker that died before it took the lease, one recorded but never put in line, writes that Redis lost. So one
look at the records replaces all others. It is fenced: of many that look at once, one acts.
"""

import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from microdose.errors import Fenced, MicrodoseError, NotFound
from microdose.problem import Problem, make_problem
from microdose.resources import Job, JobState, SequenceState
from microdose_server.jobs import outcome
from microdose_server.jobs.lease import is_held, newest_attempt
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Settings
from microdose_server.store.bus import Attempt
from microdose_server.store.sequences import Sequences

log = logging.getLogger(__name__)

LOST = make_problem("job-worker-lost", "its worker stopped answering")


def put_back(
    queue: JobQueue, attempt: Attempt, error: Problem, attempts: int, *, counted: bool = True
) -> Job:
    """An attempt is gone: put its job first in line, or fail it with `error` after so many attempts.

    Raises Fenced and NotFound as `outcome.lose`.
    """
    losses = Jobs(queue.client).get(attempt.job).losses
    again = losses + 1 < attempts or not counted
    job = outcome.lose(queue.client, attempt, error, again=again, counted=counted)
    if job.state is JobState.QUEUED:
        queue.submit(job, first=True)
    return job


class Recovery:
    """The looks of one process. Call `look` every few seconds, in as many processes as there are."""

    def __init__(
        self, queue: JobQueue, settings: Settings, now: Callable[[], float] = time.monotonic
    ) -> None:
        """`now` is a clock in seconds."""
        self._queue = queue
        self._settings = settings
        self._now = now
        self._missing: dict[Attempt, float] = {}
        """Attempts that were found neither in line nor held, and since when."""
        self._told: dict[str, str] = {}
        """Jobs that cannot be looked after, and why, as the log has it."""

    def look(self) -> list[Job]:
        """Bring back what was lost; returns the jobs that were put back or ended by it."""
        jobs = Jobs(self._queue.client).unfinished(self._tell)
        attempts = {job.id: newest_attempt(self._queue.client, job) for job in jobs}
        waiting = set(self._queue.waiting())  # after the fences: who pops one of these moves its fence
        done, missing = [], self._missing
        self._missing = {}
        for job in jobs:
            try:
                changed = self._settle(job, attempts[job.id], job.id in waiting, missing)
            except (Fenced, NotFound):  # begun, ended or removed meanwhile
                continue
            except (MicrodoseError, ValueError) as error:  # what cannot be read must not hold up the others
                self._tell(job.id, error)
                continue
            if changed is not None:
                done.append(changed)
        return done

    def _tell(self, job: str, error: Exception) -> None:
        """Say once what is wrong with a job: a look follows every few seconds."""
        if self._told.get(job) != str(error):
            self._told[job] = str(error)
            log.error("job %s cannot be looked after: %s", job, error)

    def _settle(self, job: Job, attempt: Attempt, waits: bool, missing: dict[Attempt, float]) -> Job | None:
        client = self._queue.client
        if outcome.follow(client, job.id).state.final:
            return None
        if job.attempt == 0 and self._is_stale(job):
            expired = make_problem(outcome.EXPIRED, f"no worker took it in {self._settings.queue_seconds} s")
            Sequences(client).overtake(attempt, SequenceState.FAILED, expired)
            return outcome.follow(client, job.id)
        if waits or is_held(client, attempt):
            return None
        since = missing.get(attempt, self._now())
        if self._now() - since < self._settings.lease_s:
            self._missing[attempt] = since
            return None
        return put_back(self._queue, attempt, LOST, self._settings.job_attempts)

    def _is_stale(self, job: Job) -> bool:
        return datetime.now(UTC) - job.created > timedelta(seconds=self._settings.queue_seconds)
