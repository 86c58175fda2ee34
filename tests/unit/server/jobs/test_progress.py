from collections.abc import Callable

import pytest
import redis

from microdose.errors import Fenced
from microdose.resources import Job
from microdose_server.jobs import outcome
from microdose_server.jobs.progress import EVERY_S, Reporter, gap
from microdose_server.jobs.records import MAX_EVENTS, Jobs
from microdose_server.store.redis import connect
from tests.streams import job_events

Enqueue = Callable[[], Job]


def start(client: redis.Redis, job: Job, every_s: float) -> Reporter:
    begun = outcome.begin(client, job)
    assert begun is not None
    return Reporter(Jobs(client), begun[0], begun[1].token, every_s)


def test_a_reader_sees_phase_step_loss_and_time_left(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    report = start(bus, job, every_s=0)
    report.phase("distil", 4)
    report.step(1, 0.5, 31.5)
    seen = Jobs(bus).get(job.id)
    assert (seen.phase, seen.step, seen.steps, seen.loss, seen.psnr) == ("distil", 1, 4, 0.5, 31.5)
    assert seen.eta_s is not None
    assert seen.eta_s == pytest.approx(3 * report.seconds["distil"])


def test_steps_close_to_each_other_are_told_as_one(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    report = start(bus, job, every_s=3600)
    report.phase("encode", 100)
    for step in range(1, 101):
        report.step(step)
    steps = [event.job.step for event in job_events(bus, job.id)]
    assert steps[-2:] == [0, 100]


def test_the_reports_of_a_day_are_all_kept() -> None:
    elapsed, reports = 0.0, 0
    while elapsed < 86_400:
        assert gap(elapsed, EVERY_S) < 120
        elapsed, reports = elapsed + gap(elapsed, EVERY_S), reports + 1
    assert reports < MAX_EVENTS / 2


def test_a_new_phase_starts_afresh(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    report = start(bus, job, every_s=0)
    report.phase("distil", 4)
    report.step(2, 0.5)
    report.phase("publish")
    seen = Jobs(bus).get(job.id)
    assert (seen.phase, seen.step, seen.loss, seen.eta_s) == ("publish", 0, None, None)
    assert set(report.seconds) == {"distil", "publish"}


def test_a_cancelled_job_is_told_to_stop(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    report = start(bus, job, every_s=0)
    outcome.cancel(bus, job.id)
    with pytest.raises(Fenced):
        report.step(1)


def test_an_overtaken_attempt_is_told_to_stop(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    report = start(bus, job, every_s=0)
    start(bus, Jobs(bus).get(job.id), every_s=0)
    with pytest.raises(Fenced):
        report.step(1)


def test_a_missing_redis_does_not_stop_the_work(bus: redis.Redis, enqueue: Enqueue) -> None:
    job = enqueue()
    with connect("unix:///nowhere.sock") as away:
        report = Reporter(Jobs(away), job, 1, every_s=0)
        report.phase("distil", 2)
        report.step(1)
    assert report.job.step == 1
