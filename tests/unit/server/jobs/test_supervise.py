"""A job's process under watch: real processes, real Redis."""

import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import redis

from microdose.resources import Job
from microdose_server.jobs import outcome, supervise
from microdose_server.jobs.lease import Lease, is_held
from microdose_server.jobs.supervise import Patience, Supervisor, cause, oom_kills
from microdose_server.store.redis import connect
from tests.valkey import refused, refusing_writes

Enqueue = Callable[[], Job]
Start = Callable[[str], "subprocess.Popen[bytes]"]
PATIENT = Patience(deadline_s=600, stall_s=600)
SLEEP = "import time; time.sleep(600)"


@pytest.fixture
def start() -> Iterator[Start]:
    """Start Python processes, each in a group of its own."""
    started = []

    def make(source: str) -> "subprocess.Popen[bytes]":
        started.append(subprocess.Popen([sys.executable, "-c", source], process_group=0))
        return started[-1]

    yield make
    for process in started:
        process.kill()
        process.wait()


@pytest.fixture
def begun(bus: redis.Redis, enqueue: Enqueue) -> tuple[Job, Lease]:
    found = outcome.begin(bus, enqueue())
    assert found is not None
    return found[0], Lease(bus, found[1], 8.0)


def test_while_it_works_the_lease_is_held(bus: redis.Redis, start: Start, begun: tuple[Job, Lease]) -> None:
    job, lease = begun
    seen = []

    def beat() -> bool:
        seen.append(is_held(bus, lease.attempt))
        return len(seen) > 11  # longer than the lease

    end = Supervisor(start(SLEEP), lease, job, PATIENT, beat).watch()
    assert seen == [False] + 11 * [True]
    assert end.problem is not None
    assert (end.problem.detail, end.counted) == ("its worker was told to stop", False)


def test_a_process_that_ends_in_order_has_said_all(start: Start, begun: tuple[Job, Lease]) -> None:
    job, lease = begun
    assert Supervisor(start("pass"), lease, job, PATIENT, lambda: False).watch().problem is None


def test_a_cancelled_job_has_its_process_killed(
    bus: redis.Redis, start: Start, begun: tuple[Job, Lease]
) -> None:
    job, lease = begun
    process = start(SLEEP)
    outcome.cancel(bus, job.id)
    assert Supervisor(process, lease, job, PATIENT, lambda: False).watch().problem is None
    assert process.returncode == -signal.SIGKILL


@pytest.mark.parametrize(
    ("patience", "slug", "final"),
    [(Patience(0, 600), "job-deadline", True), (Patience(600, 0), "job-stalled", False)],
)
def test_what_takes_too_long_is_ended_with_its_reason(
    start: Start, begun: tuple[Job, Lease], patience: Patience, slug: str, final: bool
) -> None:
    job, lease = begun
    process = start(SLEEP)
    end = Supervisor(process, lease, job, patience, lambda: False).watch()
    assert end.problem is not None
    assert (end.problem.slug, end.final) == (slug, final)
    assert process.returncode == -signal.SIGKILL


def test_a_redis_that_is_away_is_no_reason_to_end(start: Start, begun: tuple[Job, Lease]) -> None:
    job, lease = begun
    with connect("unix:///nowhere.sock") as away:
        lost = Lease(away, lease.attempt, 1.0)
        end = Supervisor(
            start("import time; time.sleep(1)"), lost, job, Patience(600, 0), lambda: False
        ).watch()
    assert end.problem is None


def test_a_redis_that_refuses_is_no_reason_to_end(
    bus: redis.Redis, start: Start, begun: tuple[Job, Lease]
) -> None:
    job, lease = begun
    told: list[bool] = []

    def beat() -> bool:
        told.append(refused(bus, "set"))  # of the lease
        return any(told)

    with refusing_writes(bus):
        end = Supervisor(start(SLEEP), lease, job, Patience(600, 0), beat).watch()
    assert end.problem is not None
    assert end.problem.detail == "its worker was told to stop"
    assert told[0] is False


def test_no_process_is_left_to_itself(start: Start, begun: tuple[Job, Lease]) -> None:
    job, lease = begun
    process = start(SLEEP)

    def beat() -> bool:
        raise RuntimeError

    with pytest.raises(RuntimeError):
        Supervisor(process, lease, job, PATIENT, beat).watch()
    assert process.returncode == -signal.SIGKILL


def test_memory_that_ran_out_is_told_from_other_kills(
    start: Start, begun: tuple[Job, Lease], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    job, lease = begun
    counts = tmp_path / "memory.events"
    counts.write_text("low 0\noom_kill 3\n")
    monkeypatch.setattr(supervise, "OOM_COUNTS", (counts,))
    die = "import os; os.kill(os.getpid(), 9)"
    end = Supervisor(start(die), lease, job, PATIENT, lambda: False).watch()
    assert end.problem is not None
    assert (end.problem.slug, end.problem.detail) == ("job-worker-lost", "its process was killed by SIGKILL")
    supervisor = Supervisor(start(die), lease, job, PATIENT, lambda: False)
    counts.write_text("low 0\noom_kill 4\n")
    end = supervisor.watch()
    assert end.problem is not None
    assert end.problem.slug == "job-out-of-memory"


def test_the_kernels_count_is_read_where_there_is_one() -> None:
    assert oom_kills() >= 0


@pytest.mark.parametrize(("code", "told"), [(-signal.SIGKILL, "killed by SIGKILL"), (1, "ended with 1")])
def test_an_end_is_put_into_words(code: int, told: str) -> None:
    assert told in cause(code)
