"""One attempt at a job, in a process of its own: what becomes of whatever stops it.

body --> follow            done
  |-- Fenced               cancelled, or another attempt goes on: leave quietly
  |-- a service is away,
  |   Redis refuses, or
  |   this machine errs    put the job back: another attempt, later or elsewhere
  |-- Redis is away        end; the worker puts the job back
  +-- anything else        the job failed; its record says why
"""

import logging
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass

import redis

from microdose.errors import Fenced, MicrodoseError, NotReproducible, Unavailable
from microdose.problem import Problem, make_problem, problem_of
from microdose_server.jobs import outcome
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.recovery import put_back
from microdose_server.logs import about
from microdose_server.room import FULL
from microdose_server.settings import Settings
from microdose_server.store.bus import Attempt
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import LOST, connect, patiently

log = logging.getLogger(__name__)

PASSING = (Unavailable, NotReproducible, redis.RedisError)
"""What another attempt, later or by another worker, need not meet."""
OUT_OF_MEMORY = ("OutOfMemoryError", "out of memory", "can't allocate memory")
"""How torch says it: as a class for a GPU, in words for a CPU."""


@dataclass(frozen=True)
class Assignment:
    """What the work of a job is given."""

    client: redis.Redis
    settings: Settings
    attempt: Attempt
    report: Reporter


def make_attempt(errand: Errand, body: Callable[[Assignment], object]) -> None:
    """Do `body` for an attempt that a worker has begun, under the settings of the environment.

    Raises:
        redis.ConnectionError, redis.TimeoutError: Redis is away; nothing is wrong with the job.
    """
    settings, attempt = Settings(), errand.attempt
    with connect(redis_url(settings)) as client, suppress(Fenced):
        record = patiently(lambda: Jobs(client).get(attempt.job))
        report = Reporter(Jobs(client), record, attempt.token)
        with about(job=attempt.job, sequence=attempt.sequence, attempt=str(record.attempt)):
            try:
                body(Assignment(client, settings, attempt, report))
            except (Fenced, *LOST):
                raise
            except PASSING as error:
                log.warning("job %s: %s", attempt.job, error)
                put_back(JobQueue(client), attempt, problem_from(error), settings.job_attempts)
            except Exception as error:
                log.exception("job %s failed", attempt.job)
                outcome.fail(client, attempt, problem_from(error))
        patiently(lambda: outcome.follow(client, attempt.job))


def problem_from(error: Exception) -> Problem:
    """What a job's readers are told of an error."""
    if isinstance(error, MicrodoseError):
        return problem_of(error)
    if isinstance(error, redis.RedisError):  # away is for LOST; this one answers
        return make_problem("unavailable", f"Redis refuses a command, it may be full: {error}")
    if isinstance(error, MemoryError) or any(
        sign in f"{type(error).__name__}: {error}" for sign in OUT_OF_MEMORY
    ):
        return make_problem("job-out-of-memory", f"{error}; send fewer or smaller pictures")
    if isinstance(error, OSError) and error.errno in FULL:
        return make_problem("no-space", "the worker's disk is full; make room, then complete it again")
    return make_problem("internal", f"{type(error).__name__}; the worker's log says where")
