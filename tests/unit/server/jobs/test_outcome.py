from collections.abc import Callable

import pytest
import redis

from microdose.errors import Fenced, NotFound
from microdose.ids import new_id
from microdose.problem import make_problem
from microdose.resources import Job, JobState, SequenceState
from microdose_server.jobs import outcome
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.store.bus import Attempt
from microdose_server.store.sequences import Sequences

Enqueue = Callable[[], Job]
LOST = make_problem("job-worker-lost", "its process was killed")


def begin(client: redis.Redis, job: Job) -> Attempt:
    begun = outcome.begin(client, Jobs(client).get(job.id))
    assert begun is not None
    return begun[1]


def states(client: redis.Redis, job: Job) -> tuple[JobState, SequenceState]:
    return Jobs(client).get(job.id).state, Sequences(client).get(job.sequence).state


def test_a_job_begins_once_per_attempt(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    first, second = begin(bus, job), begin(bus, job)
    assert first.token < second.token
    assert Jobs(bus).get(job.id).attempt == 2
    assert states(bus, job) == (JobState.RUNNING, SequenceState.RUNNING)


def test_a_failure_is_recorded_on_both(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    problem = make_problem("bad-picture", "frame 0: truncated")
    failed = outcome.fail(bus, begin(bus, job), problem)
    assert states(bus, job) == (JobState.FAILED, SequenceState.FAILED)
    assert failed.error == Sequences(bus).get(job.sequence).error == problem
    assert failed.ended is not None


def test_an_old_attempt_cannot_fail_the_job(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    old = begin(bus, job)
    begin(bus, job)
    with pytest.raises(Fenced):
        outcome.fail(bus, old, LOST)
    assert states(bus, job) == (JobState.RUNNING, SequenceState.RUNNING)


@pytest.mark.parametrize("running", [False, True])
def test_a_cancelled_job_has_not_failed(bus: redis.Redis, enqueue: Enqueue, running: bool) -> None:
    job = enqueue()
    if running:
        begin(bus, job)
    cancelled = outcome.cancel(bus, job.id)
    assert states(bus, job) == (JobState.CANCELLED, SequenceState.CANCELLED)
    assert cancelled.error is not None
    assert cancelled.error.slug == "job-cancelled"
    assert outcome.begin(bus, cancelled) is None
    assert outcome.cancel(bus, job.id) == cancelled


def test_a_lost_attempt_is_queued_again(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    old = begin(bus, job)
    outcome.lose(bus, old, LOST, again=True)
    assert states(bus, job) == (JobState.QUEUED, SequenceState.QUEUED)
    with pytest.raises(Fenced):
        outcome.fail(bus, old, LOST)


def test_an_attempt_is_lost_once(bus: redis.Redis, enqueue: Enqueue) -> None:
    """Of many who notice, one acts; and none against the attempt that follows."""
    job = enqueue()
    old = begin(bus, job)
    outcome.lose(bus, old, LOST, again=True)
    for _ in range(2):
        with pytest.raises(Fenced):
            outcome.lose(bus, old, LOST, again=True)
        begin(bus, job)
    assert states(bus, job) == (JobState.RUNNING, SequenceState.RUNNING)


def test_a_loss_that_is_nobodys_fault_is_not_counted(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    for counted in (True, False):
        outcome.lose(bus, begin(bus, job), LOST, again=True, counted=counted)
    assert (Jobs(bus).get(job.id).attempt, Jobs(bus).get(job.id).losses) == (2, 1)


def test_the_last_lost_attempt_fails_the_job_as_worker_lost(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    assert outcome.lose(bus, begin(bus, job), LOST, again=False).error == LOST
    assert states(bus, job) == (JobState.FAILED, SequenceState.FAILED)


def test_a_cancelled_job_is_not_lost_afterwards(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    attempt = begin(bus, job)
    outcome.cancel(bus, job.id)
    for again in (True, False):
        assert outcome.lose(bus, attempt, LOST, again=again).state == JobState.CANCELLED


def test_a_failed_sequence_may_be_completed_again(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    attempt = begin(bus, job)
    outcome.fail(bus, attempt, LOST)
    again = JobQueue(bus).enqueue(job.sequence)
    assert again.id != job.id
    assert states(bus, again) == (JobState.QUEUED, SequenceState.QUEUED)
    assert outcome.lose(bus, attempt, LOST, again=False).state == JobState.FAILED
    begin(bus, again)


def test_who_was_cut_off_between_sequence_and_job_is_followed_up(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    attempt = begin(bus, job)
    Sequences(bus).give_up(attempt, SequenceState.FAILED, LOST)
    assert Jobs(bus).get(job.id).state == JobState.RUNNING
    assert outcome.follow(bus, job.id).error == LOST


def test_a_job_without_its_sequence_is_cancelled(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    begin(bus, job)
    Sequences(bus).delete(job.sequence)
    assert outcome.follow(bus, job.id).state == JobState.CANCELLED


def test_an_unknown_job_is_not_found(bus: redis.Redis) -> None:
    with pytest.raises(NotFound):
        outcome.cancel(bus, new_id())
