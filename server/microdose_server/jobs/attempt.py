"""One attempt at a job, in a process of its own: how it begins, and what becomes of whatever stops it.

begin --> body --> follow            done
            |-- Fenced               cancelled, or another attempt goes on: leave quietly
            |-- Redis away           raise: rq tries again, later or elsewhere
            +-- anything else        the job failed; its record says why
"""

import errno
import logging
import os
import signal
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import redis

from microdose.errors import Fenced, MicrodoseError, Unavailable
from microdose.problem import Problem, make_problem, problem_of
from microdose_server.jobs import outcome
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.worker import WORKER_PID
from microdose_server.logs import about
from microdose_server.settings import Settings
from microdose_server.store.bus import Attempt
from microdose_server.store.embedded import redis_url
from microdose_server.store.parent import die_with_parent
from microdose_server.store.redis import LOST, connect

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Assignment:
    """What the work of a job is given."""

    client: redis.Redis
    settings: Settings
    attempt: Attempt
    report: Reporter


def make_attempt(job: str, body: Callable[[Assignment], object]) -> None:
    """Do `body` for a job that still waits to be done, under the settings of the environment.

    Raises:
        Unavailable, redis.ConnectionError, redis.TimeoutError: Redis is away; nothing is wrong with the job.
    """
    if WORKER_PID in os.environ:
        die_with_parent(int(os.environ[WORKER_PID]), signal.SIGKILL)
    settings = Settings()
    with connect(redis_url(settings)) as client:
        begun = outcome.begin(client, Jobs(client).get(job))
        if begun is None:
            return
        record, attempt = begun
        with suppress(Fenced), about(job=job, sequence=record.sequence, attempt=str(record.attempt)):
            try:
                body(Assignment(client, settings, attempt, Reporter(Jobs(client), record, attempt.token)))
            except (Unavailable, Fenced, *LOST):
                raise
            except Exception as error:
                log.exception("job %s failed", job)
                outcome.fail(client, attempt, problem_from(error))
        outcome.follow(client, job)


def problem_from(error: Exception) -> Problem:
    """What a job's readers are told of an error."""
    if isinstance(error, MicrodoseError):
        return problem_of(error)
    if isinstance(error, redis.RedisError):  # away is for LOST; this one answers
        return make_problem("unavailable", f"Redis refuses a command, it may be full: {error}")
    if isinstance(error, MemoryError) or type(error).__name__ == "OutOfMemoryError":  # the latter is torch's
        return make_problem("job-out-of-memory", f"{error}; send fewer or smaller pictures")
    if isinstance(error, OSError) and error.errno == errno.ENOSPC:
        return make_problem("no-space", "the worker's disk is full; make room, then complete it again")
    return make_problem("internal", f"{type(error).__name__}; the worker's log says where")
