"""How a job changes hands and how it ends, whoever notices: its process, the worker, a canceller, a sweep.

The sequence changes first, behind its fence; the job's record follows. Who is cut off between the two leaves
a job that another look at the sequence completes (`follow`).
"""

from contextlib import suppress
from datetime import UTC, datetime

import redis

from microdose import keys
from microdose.errors import Fenced, NotFound
from microdose.problem import Problem, make_problem
from microdose.resources import Job, JobState, Sequence, SequenceState
from microdose_server.jobs.farewell import hang_up
from microdose_server.jobs.records import Jobs
from microdose_server.store.bus import Attempt
from microdose_server.store.redis import text
from microdose_server.store.sequences import Sequences

ENDS = {
    SequenceState.PUBLISHED: JobState.SUCCEEDED,
    SequenceState.FAILED: JobState.FAILED,
    SequenceState.CANCELLED: JobState.CANCELLED,
}

EXPIRED = "job-expired"

REMOVED = 2**53
"""In place of the token of a sequence that is no more: above all of them."""


def begin(client: redis.Redis, job: Job) -> tuple[Job, Attempt] | None:
    """Start an attempt at a job, shutting out every earlier one; None when there is nothing left to do."""
    attempt = Sequences(client).take_over(job.sequence, job.id, SequenceState.RUNNING)
    if attempt is None:
        follow(client, job.id)
        return None
    started = job.model_copy(
        update={
            "state": JobState.RUNNING,
            "attempt": job.attempt + 1,
            "started": job.started or datetime.now(UTC),
            "phase": "load",
            "step": 0,
            "loss": None,
            "psnr": None,
            "eta_s": None,
        }
    )
    return (started, attempt) if Jobs(client).write(started, attempt.token) else None


def fail(client: redis.Redis, attempt: Attempt, error: Problem) -> Job:
    """End a job with `error`, in the name of the attempt that met it.

    Raises:
        Fenced: a newer attempt has taken over; the job goes on.
    """
    Sequences(client).give_up(attempt, SequenceState.FAILED, error)
    return follow(client, attempt.job)


def cancel(client: redis.Redis, job: str) -> Job:
    """End a job as cancelled, from outside. From this moment nothing of it can be published.

    A job that has ended stays as it ended. Raises NotFound.
    """
    record = Jobs(client).get(job)
    problem = make_problem("job-cancelled", "cancelled on request")
    Sequences(client).take_over(record.sequence, job, SequenceState.CANCELLED, problem)
    return follow(client, job)


def lose(client: redis.Redis, attempt: Attempt, error: Problem, *, again: bool, counted: bool = True) -> Job:
    """An attempt is gone with its process or machine: the job is queued `again`, or fails with `error`.

    A loss that is not the job's own fault need not be `counted`.

    Raises:
        Fenced: somebody else has seen to it already.
        NotFound: no such job.
    """
    state = SequenceState.QUEUED if again else SequenceState.FAILED
    newer = Sequences(client).overtake(attempt, state, None if again else error)
    if newer is None or not again:
        return follow(client, attempt.job)
    record = Jobs(client).get(attempt.job)
    losses = record.losses + (1 if counted else 0)
    changes = {"state": JobState.QUEUED, "phase": None, "eta_s": None, "losses": losses}
    queued = record.model_copy(update=changes)
    Jobs(client).write(queued, newer.token)
    return queued


def follow(client: redis.Redis, job: str) -> Job:
    """The job's record, ended now if its sequence says that the job is over."""
    jobs = Jobs(client)
    record = jobs.get(job)
    state, error = _end(client, record)
    if record.state.final:
        jobs.close(job)
    if record.state.final or state is None:
        return record
    changes = {"state": state, "error": error, "ended": datetime.now(UTC), "eta_s": None}
    with suppress(Fenced):  # another look at the same sequence came first
        hang_up(client, record.sequence, f"job {state}")
        newest = int(client.get(keys.fence(record.sequence)) or REMOVED)
        if jobs.write(record.model_copy(update=changes), newest):
            client.hincrby(keys.job_ends(), f"{state} {error.slug if error else 'none'}", 1)
            jobs.close(job)
    return jobs.get(job)


def count_ends(client: redis.Redis) -> dict[tuple[str, str], int]:
    """How many jobs ended in which state for which reason (the slug of their problem, or none), ever."""
    counts = {text(name): int(count) for name, count in client.hgetall(keys.job_ends()).items()}
    return {(name.split(" ")[0], name.split(" ")[-1]): count for name, count in counts.items()}


def _end(client: redis.Redis, job: Job) -> tuple[JobState | None, Problem | None]:
    try:
        sequence: Sequence = Sequences(client).get(job.sequence)
    except NotFound:
        return JobState.CANCELLED, make_problem("job-cancelled", "its sequence was removed")
    if sequence.job != job.id:
        return JobState.CANCELLED, make_problem("job-cancelled", f"job {sequence.job} has replaced it")
    if sequence.error is not None and sequence.error.slug == EXPIRED:
        return JobState.EXPIRED, sequence.error
    return ENDS.get(sequence.state), sequence.error
