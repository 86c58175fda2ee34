"""Workers that are killed in every way that workers are."""

import os
import signal
from pathlib import Path
from urllib.parse import quote

import redis

from microdose import keys
from microdose.manifest import parse_manifest
from microdose.resources import Job, JobState, SequenceState
from microdose_server.evaluate.ports import free_port
from microdose_server.jobs import outcome
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences
from tests.valkey import refused, refusing_writes
from tests.workers import PATIENCE_S, StartWorker, enqueue, finish, has_ended, pids


def state_of(client: redis.Redis, job: Job) -> SequenceState:
    return Sequences(client).get(job.sequence).state


def test_a_job_is_worked_on_and_published(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "publishing")
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt, done.error) == (JobState.SUCCEEDED, 1, None)
    assert state_of(bus, job) == SequenceState.PUBLISHED
    assert parse_manifest(read_manifest(bus, job.sequence) or b"").ended
    assert JobQueue(bus).enqueue(job.sequence) == done


def test_a_worker_may_come_by_tcp_with_a_password_that_nobody_sees(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    port = free_port()
    bus.config_set("port", port)
    password = "pass'wörd"
    bus.acl_setuser(
        "worker", enabled=True, passwords=[f"+{password}"], keys=["*"], channels=["*"], categories=["+@all"]
    )
    job = enqueue(bus, "patient")
    start_worker(f"redis://worker:{quote(password)}@127.0.0.1:{port}/0")
    (pid,) = pids(bus, job)
    command_line = Path(f"/proc/{pid}/cmdline").read_text()
    assert "microdose_server.jobs.horse" in command_line
    assert not any(secret in command_line for secret in (password, quote(password), "redis://"))
    bus.set(f"go:{job.id}", 1)
    assert finish(bus, job).state == JobState.SUCCEEDED
    bus.acl_deluser("worker")
    bus.config_set("port", 0)


def test_cancelling_kills_the_process_at_once(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job, after = enqueue(bus, "endless"), enqueue(bus, "publishing")
    start_worker(redis_url)
    (pid,) = pids(bus, job)
    assert JobQueue(bus).cancel(job.id).state == JobState.CANCELLED
    assert poll(lambda: has_ended(pid), PATIENCE_S)
    assert finish(bus, after).state == JobState.SUCCEEDED
    assert Jobs(bus).get(job.id).state == JobState.CANCELLED
    assert state_of(bus, job) == SequenceState.CANCELLED
    assert len(pids(bus, job)) == 1


def test_a_cancel_that_the_worker_did_not_hear_ends_the_process_too(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "endless")
    start_worker(redis_url)
    (pid,) = pids(bus, job)
    outcome.cancel(bus, job.id)  # no command is sent; the next report is refused
    assert poll(lambda: has_ended(pid), PATIENCE_S)
    assert Jobs(bus).get(job.id).state == JobState.CANCELLED


def test_a_job_cancelled_while_waiting_is_never_begun(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job, after = enqueue(bus, "endless"), enqueue(bus, "publishing")
    assert JobQueue(bus).cancel(job.id).state == JobState.CANCELLED
    start_worker(redis_url)
    assert finish(bus, after).state == JobState.SUCCEEDED
    assert bus.llen(f"pids:{job.id}") == 0


def test_a_crash_is_tried_again(bus: redis.Redis, redis_url: str, start_worker: StartWorker) -> None:
    job = enqueue(bus, "crashing_once")
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)


def test_a_job_that_keeps_crashing_fails_as_worker_lost(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job, after = enqueue(bus, "crashing"), enqueue(bus, "publishing")
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.FAILED, 3)
    assert done.error is not None
    assert done.error.slug == "job-worker-lost"
    assert "SIGKILL" in (done.error.detail or "")
    assert state_of(bus, job) == SequenceState.FAILED
    assert finish(bus, after).state == JobState.SUCCEEDED


def test_a_killed_worker_takes_its_process_with_it_and_another_goes_on(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "endless_once")
    worker = start_worker(redis_url)
    (pid,) = pids(bus, job)
    worker.kill()
    assert poll(lambda: has_ended(pid), PATIENCE_S)
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)


def test_a_stopped_process_that_wakes_up_disturbs_nobody(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "endless_once")
    worker = start_worker(redis_url)
    (pid,) = pids(bus, job)
    os.kill(worker.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    os.kill(pid, signal.SIGCONT)
    os.kill(worker.pid, signal.SIGCONT)
    assert poll(lambda: has_ended(pid), PATIENCE_S)
    assert Jobs(bus).get(job.id) == done
    assert state_of(bus, job) == SequenceState.PUBLISHED


def test_a_stopped_process_that_wakes_up_at_its_end_publishes_nothing(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    """Its worker stays stopped, so that nothing but the fence keeps it from publishing."""
    job = enqueue(bus, "deaf_once")
    worker = start_worker(redis_url)
    (pid,) = pids(bus, job)
    os.kill(worker.pid, signal.SIGSTOP)
    os.kill(pid, signal.SIGSTOP)
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)
    before = bus.dump(keys.events(job.sequence)), read_manifest(bus, job.sequence)
    bus.set(f"go:{job.id}", 1)
    os.kill(pid, signal.SIGCONT)
    assert poll(lambda: has_ended(pid), PATIENCE_S)
    assert bus.exists(f"fenced:{job.id}")
    assert (bus.dump(keys.events(job.sequence)), read_manifest(bus, job.sequence)) == before
    assert Jobs(bus).get(job.id) == done


def test_a_job_that_a_dead_worker_had_popped_is_found(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    """It was off the line, and noted nowhere yet."""
    job = enqueue(bus, "publishing")
    JobQueue(bus).lines[job.priority].remove(job.id)
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt, done.losses) == (JobState.SUCCEEDED, 1, 1)


def test_a_job_that_makes_no_progress_is_stalled_and_its_worker_goes_on(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    jobs = [enqueue(bus, "silent"), enqueue(bus, "silent")]
    start_worker(redis_url, MICRODOSE_STALL_SECONDS="0.1", MICRODOSE_JOB_ATTEMPTS="1")
    done = [finish(bus, job) for job in jobs]
    assert [job.state for job in done] == [JobState.FAILED] * 2
    assert [job.error.slug for job in done if job.error] == ["job-stalled"] * 2


def test_a_worker_asked_to_stop_gives_its_job_back(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "endless_once")
    worker = start_worker(redis_url)
    (pid,) = pids(bus, job)
    worker.terminate()
    assert worker.wait(PATIENCE_S) == 0
    assert has_ended(pid)
    assert Jobs(bus).get(job.id).state == JobState.QUEUED
    assert state_of(bus, job) == SequenceState.QUEUED
    start_worker(redis_url)
    assert finish(bus, job).state == JobState.SUCCEEDED


def test_a_bad_picture_fails_the_job_without_another_try(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "refusing")
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.FAILED, 1)
    assert done.error is not None
    assert (done.error.slug, done.error.detail) == ("bad-picture", "frame 0: truncated")


def test_a_lost_service_is_tried_again_and_named_in_the_end(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "unavailable")
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.FAILED, 3)
    assert done.error is not None
    assert done.error.slug == "unavailable"


def test_a_redis_that_refuses_for_a_moment_ends_neither_worker_nor_job(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "patient")
    worker = start_worker(redis_url)
    pids(bus, job)
    with refusing_writes(bus):
        assert poll(lambda: not bus.exists(keys.lease(job.sequence)), PATIENCE_S)  # it has run out
    bus.set(f"go:{job.id}", 1)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
    with refusing_writes(bus):
        assert poll(lambda: refused(bus, "blpop"), PATIENCE_S)
    assert finish(bus, enqueue(bus, "publishing")).state == JobState.SUCCEEDED
    assert worker.poll() is None


def test_a_job_that_met_a_refusal_is_tried_again(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker
) -> None:
    job = enqueue(bus, "refused_once")
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.attempt) == (JobState.SUCCEEDED, 2)


def test_two_workers_share_the_line(bus: redis.Redis, redis_url: str, start_worker: StartWorker) -> None:
    jobs = [enqueue(bus, "publishing") for _ in range(6)]
    start_worker(redis_url), start_worker(redis_url)
    assert [finish(bus, job).state for job in jobs] == [JobState.SUCCEEDED] * 6
    assert [len(pids(bus, job)) for job in jobs] == [1] * 6
