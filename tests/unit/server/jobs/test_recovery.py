"""Jobs that nobody works on, however they came to that."""

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from microdose import keys
from microdose.resources import Job, JobState, SequenceState
from microdose_server.jobs import outcome
from microdose_server.jobs.lease import Lease
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.recovery import Recovery
from microdose_server.settings import Settings
from microdose_server.store.bus import Attempt
from microdose_server.store.fields import to_field
from microdose_server.store.sequences import Sequences

Enqueue = Callable[[], Job]
SETTINGS = Settings()


class Looker:
    """A process that looks, and whose clock stands still unless told."""

    def __init__(self, client: redis.Redis) -> None:
        self.time = 0.0
        self.queue = JobQueue(client)
        self.recovery = Recovery(self.queue, SETTINGS, lambda: self.time)

    def look(self, *, later_s: float = 0.0) -> list[Job]:
        self.time += later_s
        return self.recovery.look()

    def look_twice(self) -> list[Job]:
        """As far apart as it takes to be sure."""
        return [*self.look(), *self.look(later_s=SETTINGS.lease_s)]


@pytest.fixture
def looker(bus: redis.Redis) -> Looker:
    return Looker(bus)


def begin(client: redis.Redis, job: Job) -> Attempt:
    begun = outcome.begin(client, Jobs(client).get(job.id))
    assert begun is not None
    return begun[1]


def pop(client: redis.Redis, job: Job) -> None:
    """As a worker does, and dies."""
    JobQueue(client).lines[job.priority].remove(job.id)


def test_a_dead_worker_is_noticed_within_a_minute() -> None:
    """Its lease runs out just after a look, and two more, a lease apart, come as late as they may."""
    assert 2 * (SETTINGS.lease_s + SETTINGS.look_s) < 60


def test_healthy_jobs_are_left_alone(bus: redis.Redis, enqueue: Enqueue, looker: Looker) -> None:
    waiting, running = enqueue(), enqueue()
    pop(bus, running)
    Lease(bus, begin(bus, running), 60).renew()
    assert looker.look_twice() == []
    assert looker.queue.waiting() == [waiting.id]
    assert Jobs(bus).get(running.id).state == JobState.RUNNING


@pytest.mark.parametrize("begun", [False, True])
def test_a_job_that_is_nowhere_is_put_back_first(
    bus: redis.Redis, enqueue: Enqueue, looker: Looker, begun: bool
) -> None:
    lost, waiting = enqueue(), enqueue()
    pop(bus, lost)
    if begun:
        begin(bus, lost)
    assert looker.look() == []  # its worker may be about to take the lease
    (found,) = looker.look(later_s=SETTINGS.lease_s)
    assert (found.id, found.state) == (lost.id, JobState.QUEUED)
    assert looker.queue.waiting() == [lost.id, waiting.id]
    assert Sequences(bus).get(lost.sequence).state == SequenceState.QUEUED
    assert looker.look_twice() == []


def test_what_rq_has_forgotten_of_a_job_is_not_needed(
    bus: redis.Redis, enqueue: Enqueue, looker: Looker
) -> None:
    job = enqueue()
    bus.delete(*(key for key in bus.keys("rq:*")))
    looker.look_twice()
    found = looker.queue.lines[job.priority].fetch_job(job.id)
    assert found is not None
    assert found.args == [job.id]


def test_who_takes_the_job_between_two_looks_keeps_it(
    bus: redis.Redis, enqueue: Enqueue, looker: Looker
) -> None:
    job = enqueue()
    pop(bus, job)
    looker.look()
    begin(bus, job)
    assert looker.look(later_s=SETTINGS.lease_s) == []  # seen for the first time in this attempt
    assert looker.queue.waiting() == []


def test_a_lease_of_an_older_attempt_is_none(bus: redis.Redis, enqueue: Enqueue, looker: Looker) -> None:
    job = enqueue()
    pop(bus, job)
    Lease(bus, begin(bus, job), 60).renew()
    begin(bus, job)
    assert [found.id for found in looker.look_twice()] == [job.id]


def test_of_many_that_look_one_acts(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    pop(bus, job)
    lookers = [Looker(bus) for _ in range(3)]
    assert [looker.look() for looker in lookers] == [[]] * 3
    found = [looker.look(later_s=SETTINGS.lease_s) for looker in lookers]
    assert [len(jobs) for jobs in found] == [1, 0, 0]
    assert JobQueue(bus).waiting() == [job.id]


def test_after_so_many_attempts_it_fails(bus: redis.Redis, enqueue: Enqueue, looker: Looker) -> None:
    job = enqueue()
    for _ in range(SETTINGS.job_attempts):
        pop(bus, job)
        begin(bus, job)
        (found,) = looker.look_twice()
    assert found.state == JobState.FAILED
    assert found.error is not None
    assert found.error.slug == "job-worker-lost"
    assert Sequences(bus).get(job.sequence).state == SequenceState.FAILED
    assert looker.queue.waiting() == []


def test_a_job_that_nobody_took_in_time_expires(bus: redis.Redis, enqueue: Enqueue, looker: Looker) -> None:
    job = enqueue()
    long_ago = datetime.now(UTC) - timedelta(seconds=SETTINGS.queue_seconds + 1)
    bus.hset(keys.job(job.id), "created", to_field(long_ago.isoformat()))
    (found,) = looker.look()
    assert found.state == JobState.EXPIRED
    assert found.error is not None
    assert found.error.slug == "job-expired"
    assert JobQueue(bus).enqueue(job.sequence).id != job.id


def test_what_was_cut_off_at_its_end_is_ended(bus: redis.Redis, enqueue: Enqueue, looker: Looker) -> None:
    job = enqueue()
    Sequences(bus).take_over(job.sequence, job.id, SequenceState.CANCELLED)
    looker.look()
    assert Jobs(bus).get(job.id).state == JobState.CANCELLED
    assert Jobs(bus).unfinished() == []


@pytest.mark.parametrize("what", ["job", "sequence", "manifest"])
def test_what_cannot_be_read_is_told_once_and_holds_up_nobody_else(
    bus: redis.Redis, enqueue: Enqueue, looker: Looker, caplog: pytest.LogCaptureFixture, what: str
) -> None:
    damaged, lost = enqueue(), enqueue()
    pop(bus, lost)
    if what == "job":
        bus.hset(keys.job(damaged.id), "state", to_field("odd"))
    elif what == "sequence":
        bus.hset(keys.sequence(damaged.sequence), "state", to_field("odd"))
    else:
        bus.set(keys.manifest(damaged.sequence), "no manifest")
        Sequences(bus).take_over(damaged.sequence, damaged.id, SequenceState.CANCELLED)
    assert [job.id for job in looker.look_twice()] == [lost.id]
    assert sum(damaged.id in record.getMessage() for record in caplog.records) == 1


def test_a_job_without_a_record_is_forgotten(bus: redis.Redis, enqueue: Enqueue, looker: Looker) -> None:
    bus.delete(keys.job(enqueue().id))
    assert looker.look_twice() == []
    assert bus.zcard(keys.open_jobs()) == 0
