from collections.abc import Callable
from datetime import UTC, datetime, timedelta

import pytest
import redis

from microdose import keys
from microdose.errors import BadUpload, NotFound
from microdose.ids import new_id
from microdose.resources import Job, JobState, SequenceCreate, SequenceState
from microdose_server.jobs import outcome
from microdose_server.jobs.queue import ORPHAN, WORK, JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.store.fields import to_field
from microdose_server.store.sequences import Sequences

Enqueue = Callable[[], Job]


def waiting(client: redis.Redis) -> list[str]:
    return JobQueue(client).rq.get_job_ids()


def age(client: redis.Redis, job: Job) -> None:
    """Make a job look as if it had been queued long ago."""
    long_ago = datetime.now(UTC) - 2 * ORPHAN
    client.hset(keys.job(job.id), "created", to_field(long_ago.isoformat()))


def test_a_job_waits_in_line_as_json(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    assert waiting(bus) == [job.id]
    found = JobQueue(bus).rq.fetch_job(job.id)
    assert found is not None
    assert (found.func_name, list(found.args), found.retries_left) == (WORK, [job.id], 2)
    assert Sequences(bus).get(job.sequence).job == job.id


def test_asking_twice_makes_one_job(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    assert JobQueue(bus).enqueue(job.sequence) == job
    outcome.begin(bus, job)
    assert JobQueue(bus).enqueue(job.sequence).id == job.id
    assert waiting(bus) == [job.id]


def test_an_empty_or_unknown_sequence_makes_none(bus: redis.Redis) -> None:
    with pytest.raises(BadUpload):
        JobQueue(bus).enqueue(Sequences(bus).create(SequenceCreate()).id)
    with pytest.raises(NotFound):
        JobQueue(bus).enqueue(new_id())
    assert waiting(bus) == []
    assert Jobs(bus).page().items == ()


def test_a_cancelled_job_leaves_the_line(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    for _ in range(2):
        assert JobQueue(bus).cancel(job.id).state == JobState.CANCELLED
    assert waiting(bus) == []
    with pytest.raises(NotFound):
        JobQueue(bus).cancel(new_id())


def test_a_sweep_leaves_healthy_jobs_alone(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    age(bus, job)
    before = Jobs(bus).get(job.id)
    JobQueue(bus).sweep()
    assert Jobs(bus).get(job.id) == before
    assert waiting(bus) == [job.id]


def test_a_sweep_hands_over_what_never_reached_rq(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    forget(bus, job)
    JobQueue(bus).sweep()
    assert waiting(bus) == []  # whoever made it may be about to hand it over
    age(bus, job)
    JobQueue(bus).sweep()
    assert waiting(bus) == [job.id]


def test_a_sweep_ends_what_rq_gave_up(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    outcome.begin(bus, job)
    forget(bus, job)
    JobQueue(bus).sweep()
    ended = Jobs(bus).get(job.id)
    assert ended.state == JobState.FAILED
    assert ended.error is not None
    assert ended.error.slug == "job-worker-lost"
    assert Sequences(bus).get(job.sequence).state == SequenceState.FAILED


def test_a_sweep_finishes_what_was_cut_off(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    Sequences(bus).take_over(job.sequence, job.id, SequenceState.CANCELLED)
    JobQueue(bus).sweep()
    assert Jobs(bus).get(job.id).state == JobState.CANCELLED


def test_an_orphan_is_older_than_any_request() -> None:
    assert timedelta(seconds=30) < ORPHAN


def forget(client: redis.Redis, job: Job) -> None:
    """As if rq had never heard of the job."""
    found = JobQueue(client).rq.fetch_job(job.id)
    assert found is not None
    found.delete()
