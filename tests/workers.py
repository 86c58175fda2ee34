"""Real workers in processes of their own, and the jobs that tests give them."""

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
import redis

from microdose.digest import digest_of
from microdose.resources import Frame, Job, SequenceCreate
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Limits
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences

PATIENCE_S = 150
StartWorker = Callable[..., "subprocess.Popen[bytes]"]


@pytest.fixture
def start_worker(tmp_path: Path) -> Iterator[StartWorker]:
    """Start a worker of the Redis at a URL, with a lease of 2 s unless the environment says
    otherwise, by a command that begins as given. All end with the test."""
    here = {
        "PYTHONPATH": os.pathsep.join([str(Path.cwd()), *sys.path]),
        "MICRODOSE_DATA_DIR": str(tmp_path),
        "MICRODOSE_LEASE_S": "2",
    }
    with ExitStack() as stack:

        def start(url: str, *prefix: str, **environ: str) -> "subprocess.Popen[bytes]":
            command = [*prefix, sys.executable, "-m", "microdose_server.jobs.worker"]
            environ = os.environ | here | {"MICRODOSE_REDIS_URL": url} | environ
            worker = stack.enter_context(subprocess.Popen(command, env=environ))
            stack.callback(worker.kill)
            return worker

        yield start


def enqueue(client: redis.Redis, body: str) -> Job:
    """Queue a new sequence of one frame for one of `tests.job_bodies`."""
    sequence = Sequences(client).create(SequenceCreate()).id
    frame = Frame(n=0, digest=digest_of(b""), size=0, width=40, height=24)
    Sequences(client).put_frame(sequence, frame, Limits())
    return JobQueue(client, work=f"tests.job_bodies.{body}").enqueue(sequence)


def finish(client: redis.Redis, job: Job) -> Job:
    """The job when it has ended."""
    assert poll(lambda: Jobs(client).get(job.id).state.final, PATIENCE_S)
    return Jobs(client).get(job.id)


def pids(client: redis.Redis, job: Job) -> list[int]:
    """The processes that worked on a job so far, once there is one."""
    assert poll(lambda: client.llen(f"pids:{job.id}") > 0, PATIENCE_S)
    return [int(pid) for pid in client.lrange(f"pids:{job.id}", 0, -1)]


def has_ended(pid: int) -> bool:
    """Whether a process is gone, or waits for nothing but its parent."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except (FileNotFoundError, ProcessLookupError):
        return True
