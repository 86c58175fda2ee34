import os
import signal

import pytest
import redis

from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.worker import JobWorker, cause


def test_a_kill_without_a_process_spares_the_worker(
    bus: redis.Redis, monkeypatch: pytest.MonkeyPatch
) -> None:
    """os.getpgid(0) is our own group: rq's own kill_horse would end this very test run."""
    worker = JobWorker([JobQueue(bus).rq], connection=bus, serializer="json")
    monkeypatch.setattr(os, "killpg", lambda group, sig: pytest.fail(f"killed group {group}"))
    worker.kill_horse()


@pytest.mark.parametrize(
    ("status", "told"), [(int(signal.SIGKILL), "killed by SIGKILL"), (256, "ended with 1")]
)
def test_an_end_is_put_into_words(status: int, told: str) -> None:
    assert told in cause(status)
