"""The embedded Valkey dies under a running job, and comes back."""

import os
import signal
from pathlib import Path

from microdose import keys
from microdose.manifest import parse_manifest
from microdose.resources import JobState
from microdose_server.store.bus import read_manifest
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect
from tests.streams import entries
from tests.workers import StartWorker, enqueue, finish, has_ended, pids


def test_a_job_outlives_its_redis(tmp_path: Path, start_worker: StartWorker) -> None:
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url) as bus:
        job = enqueue(bus, "patient")
        start_worker(valkey.url)
        (pid,) = pids(bus, job)
        assert valkey.pid is not None
        os.kill(valkey.pid, signal.SIGKILL)
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url, block_s=30) as bus:
        assert not has_ended(pid)
        bus.set(f"go:{job.id}", 1)
        done = finish(bus, job)
        assert (done.state, done.attempt) == (JobState.SUCCEEDED, 1)
        manifest = parse_manifest(read_manifest(bus, job.sequence) or b"")
        assert len(entries(bus, keys.events(job.sequence))) == manifest.seq
