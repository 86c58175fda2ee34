"""What a worker does while a job's process works: keep the lease, and end what must not go on.

every second or so      renew the lease; refused means cancelled or taken over: kill
                        too long in all: kill, job-deadline
                        too long without a report: kill, job-stalled
the process has ended   in order: it has said all itself. Otherwise: memory, a crash, a shutdown
"""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import redis

from microdose import keys
from microdose.errors import Fenced
from microdose.problem import Problem, make_problem
from microdose.resources import Job
from microdose_server.jobs.lease import Lease
from microdose_server.store.redis import text

log = logging.getLogger(__name__)

OOM_COUNTS = (Path("/sys/fs/cgroup/memory.events"), Path("/proc/vmstat"))
"""Where the kernel counts the processes it killed for memory: of this container, or of this machine."""


@dataclass(frozen=True, slots=True)
class End:
    """Why a process ended. `problem`: what its job met, None if it has told that itself, or nobody asks any
    more. `final`: another attempt would be in vain. `counted`: whether the loss counts.
    """

    problem: Problem | None = None
    final: bool = False
    counted: bool = True


@dataclass(frozen=True, slots=True)
class Patience:
    """Seconds that a job may take in all, and without a report."""

    deadline_s: float
    stall_s: float


class Supervisor:
    """Watches one process. `beat` says that the worker lives, and whether it was told to stop."""

    def __init__(
        self,
        process: "subprocess.Popen[bytes]",
        lease: Lease,
        job: Job,
        patience: Patience,
        beat: Callable[[], bool],
    ) -> None:
        self._process = process
        self._lease = lease
        self._job = job
        self._patience = patience
        self._beat = beat
        self._last_event = ""
        self._last_news = time.monotonic()
        self._kills = oom_kills()

    def watch(self) -> End:
        """Wait until the process has ended, or end it; it has ended too where this raises."""
        try:
            while True:
                try:
                    code = self._process.wait(self._lease.seconds / 10)
                except subprocess.TimeoutExpired:
                    if end := self._look():
                        return end
                else:
                    return self._end_of(code)
        finally:
            if self._process.poll() is None:
                kill(self._process)

    def _look(self) -> End | None:
        """Why it has to end now, if it has to."""
        if self._beat():
            return End(lost("its worker was told to stop"), counted=False)
        try:
            self._lease.renew()
            self._listen()
        except Fenced:
            return End()
        except redis.RedisError as error:  # one that is away, or full, for a moment must not end the job
            log.warning("no sign of life for job %s: %s", self._job.id, error)
            self._last_news = time.monotonic()
            return None
        started = self._job.started or datetime.now(UTC)
        if (datetime.now(UTC) - started).total_seconds() > self._patience.deadline_s:
            detail = f"it was not done {self._patience.deadline_s:g} s after it was begun"
            return End(make_problem("job-deadline", detail), final=True)
        if time.monotonic() - self._last_news > self._patience.stall_s:
            return End(make_problem("job-stalled", f"no progress for {self._patience.stall_s:g} s"))
        return None

    def _listen(self) -> None:
        newest = self._lease.client.xrevrange(keys.job_events(self._job.id), count=1)
        event = text(newest[0][0]) if newest else ""
        if event != self._last_event:
            self._last_event, self._last_news = event, time.monotonic()

    def _end_of(self, code: int) -> End:
        if code == 0:
            return End()
        if self._beat():
            return End(lost("its worker was told to stop"), counted=False)
        if code == -signal.SIGKILL and oom_kills() > self._kills:
            return End(make_problem("job-out-of-memory", "the system ended it: its memory is full"))
        return End(lost(cause(code)))


def kill(process: "subprocess.Popen[bytes]") -> None:
    """End a process and what it has started, and wait for it."""
    with suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def lost(detail: str) -> Problem:
    """The problem of a job whose process is gone."""
    return make_problem("job-worker-lost", detail)


def cause(code: int) -> str:
    """What an exit code says, in words."""
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"its process {end}"


def oom_kills() -> int:
    """How many processes the kernel has killed so far because memory was full; 0 where it does not tell."""
    for path in OOM_COUNTS:
        with suppress(OSError):
            counts = dict(line.split() for line in path.read_text().splitlines())
            return int(counts.get("oom_kill", 0))
    return 0
