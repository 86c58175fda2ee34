from collections.abc import Callable

import pytest
import redis

from microdose.digest import digest_of
from microdose.errors import BadUpload, NotFound
from microdose.ids import new_id
from microdose.resources import Frame, Job, JobState, Priority, SequenceCreate
from microdose_server.jobs import outcome
from microdose_server.jobs.queue import WORK, JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Limits
from microdose_server.store.sequences import Sequences

Enqueue = Callable[[], Job]


def waiting(client: redis.Redis) -> list[str]:
    return JobQueue(client).waiting()


def test_a_job_waits_in_line_as_json(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    assert waiting(bus) == [job.id]
    found = JobQueue(bus).lines[Priority.NORMAL].fetch_job(job.id)
    assert found is not None
    assert (found.func_name, list(found.args)) == (WORK, [job.id])
    assert Jobs(bus).work(job.id) == WORK
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
    assert bus.keys(f"*rq*{job.id}*") == []
    with pytest.raises(NotFound):
        JobQueue(bus).cancel(new_id())


def test_urgent_jobs_come_first_and_patient_ones_last(bus: redis.Redis) -> None:
    jobs = []
    for priority in (Priority.LOW, Priority.NORMAL, Priority.HIGH):
        sequence = Sequences(bus).create(SequenceCreate()).id
        frame = Frame(n=0, digest=digest_of(b""), size=0, width=16, height=16)
        Sequences(bus).put_frame(sequence, frame, Limits())
        jobs.append(JobQueue(bus).enqueue(sequence, priority))
    assert waiting(bus) == [job.id for job in reversed(jobs)]
    assert [job.priority for job in jobs] == [Priority.LOW, Priority.NORMAL, Priority.HIGH]
    JobQueue(bus).cancel(jobs[2].id)
    assert waiting(bus) == [jobs[1].id, jobs[0].id]


def test_what_is_running_is_counted(bus: redis.Redis, enqueue: Enqueue) -> None:
    outcome.begin(bus, enqueue())
    done = enqueue()
    outcome.begin(bus, done)
    outcome.cancel(bus, done.id)
    enqueue()
    assert JobQueue(bus).running() == 1
