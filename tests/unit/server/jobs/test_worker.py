"""What a worker does between jobs; those that work are in tests/integration/test_jobs_worker.py."""

from collections.abc import Callable
from pathlib import Path

import pytest
import redis

from microdose import keys
from microdose.errors import NotFound
from microdose.resources import Job
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.worker import JobWorker, run_worker
from microdose_server.settings import Settings


def test_maintenance_that_meets_what_it_cannot_read_ends_no_worker(
    bus: redis.Redis, enqueue: Callable[[], Job], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    bus.set(keys.fence(enqueue().sequence), "no number")
    JobWorker(JobQueue(bus), Settings(data_dir=tmp_path)).run_maintenance_tasks()
    assert "maintenance was cut short: invalid literal" in caplog.text


def test_a_worker_that_is_to_heed_a_discriminator_that_is_not_there_does_not_start(tmp_path: Path) -> None:
    """The shipped teacher is of stage 1."""
    with pytest.raises(NotFound, match="MICRODOSE_DISTIL_BETA"):
        run_worker(Settings(data_dir=tmp_path, distil_beta=0.1))
