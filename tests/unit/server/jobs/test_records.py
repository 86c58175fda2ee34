from collections.abc import Callable

import pytest
import redis

from microdose.errors import Fenced, NotFound
from microdose.ids import new_id
from microdose.resources import Job, JobEvent, JobState
from microdose_server.jobs import outcome
from microdose_server.jobs.records import Jobs
from tests.streams import job_events

Enqueue = Callable[[], Job]


def test_a_record_is_read_as_it_was_made(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    assert Jobs(bus).get(job.id) == job
    assert job_events(bus, job.id) == [JobEvent(type="state", job=job)]
    with pytest.raises(NotFound):
        Jobs(bus).get(new_id())


def test_every_change_is_an_event_of_its_kind(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    jobs = Jobs(bus)
    running = job.model_copy(update={"state": JobState.RUNNING, "step": 1})
    further = running.model_copy(update={"step": 2, "loss": 0.25})
    assert jobs.write(running, 1)
    assert jobs.write(further, 1)
    state, progress = JobEvent(type="state", job=running), JobEvent(type="progress", job=further)
    assert job_events(bus, job.id)[1:] == [state, progress]
    assert jobs.get(job.id) == further


def test_an_older_attempt_cannot_write(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    Jobs(bus).write(job, 2)
    with pytest.raises(Fenced):
        Jobs(bus).write(job, 1)
    assert len(job_events(bus, job.id)) == 2


def test_an_ended_record_never_changes(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    ended = outcome.cancel(bus, job.id)
    assert Jobs(bus).write(job, 100) is False
    assert Jobs(bus).get(job.id) == ended


def test_no_record_comes_from_writing_one_that_is_gone(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue().model_copy(update={"id": new_id()})
    assert Jobs(bus).write(job, 1) is False
    with pytest.raises(NotFound):
        Jobs(bus).get(job.id)


def test_jobs_are_listed_from_the_newest(bus: redis.Redis, enqueue: Enqueue) -> None:
    made = [enqueue() for _ in range(3)]
    first = Jobs(bus).page(limit=2)
    second = Jobs(bus).page(limit=2, cursor=first.next)
    assert [*first.items, *second.items] == sorted(made, key=lambda job: job.id, reverse=True)
    assert second.next is None


def test_only_unfinished_jobs_are_unfinished(bus: redis.Redis, enqueue: Enqueue) -> None:
    waiting, done = enqueue(), enqueue()
    outcome.cancel(bus, done.id)
    assert Jobs(bus).unfinished() == [waiting]
