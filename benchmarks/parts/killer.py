"""Kills one after another, at moments that are worth it, and measures how long it takes until all goes on."""

import random
import time
from collections.abc import Sequence

import redis

from benchmarks.parts.patient import STUCK_S
from benchmarks.parts.plant import Plant
from benchmarks.parts.publisher import Publisher
from benchmarks.parts.tally import Tally
from microdose import keys
from microdose.resources import Job, JobState
from microdose_server.jobs.records import Jobs
from microdose_server.store.lock import poll
from microdose_server.store.redis import LOST

PHASES = ("upload", "encode", "distil", "refine", "verify", "publish", "live")
WAIT_S = 3.0
"""The longest wait for a moment worth a kill."""
BOTH = 0.2
"""How often two of them die at once."""
STALE = 0.25
"""Of a lease: older than this, it was not renewed by a worker that lives, which does so ten times a lease."""


class Killer:
    """What dies, and when, is drawn from the seed."""

    def __init__(
        self,
        plant: Plant,
        publishers: Sequence[Publisher],
        bus: redis.Redis,
        tally: Tally,
        *,
        lease_s: float,
        seed: int,
    ) -> None:
        self._plant, self._publishers, self._bus, self._tally = plant, publishers, bus, tally
        self._lease_s = lease_s
        self._random = random.Random(seed)

    def kill(self) -> str:
        """Wait for the moment, kill, and wait until it has recovered; returns what was killed when."""
        kinds = self._random.sample(self._plant.kinds(), 2 if self._random.random() < BOTH else 1)
        targets, phase = [self._random.choice(kind) for kind in kinds], self._random.choice(PHASES)
        told = f"{' and '.join(targets)} in {phase}"
        poll(lambda: self._is_in(phase), self._random.uniform(0, WAIT_S))
        time.sleep(self._random.uniform(0, 0.3))
        running = self._running()
        begin = time.monotonic()
        self._plant.kill(targets)
        self._tally.kills += len(targets)
        self._tally.last_kill = begin
        if not poll(lambda: self._goes_on(running, begin), STUCK_S):
            self._tally.note("stuck", 1, f"no recovery from a kill of {told}")
        self._tally.recovery_s.append(time.monotonic() - begin)
        return told

    def _is_in(self, phase: str) -> bool:
        if phase == "upload":
            return any(publisher.uploading for publisher in self._publishers)
        return any(job.phase == phase for job in Jobs(self._bus).unfinished())

    def _running(self) -> list[Job]:
        return [job for job in Jobs(self._bus).unfinished() if job.state is JobState.RUNNING]

    def _goes_on(self, running: Sequence[Job], begin: float) -> bool:
        self._plant.tend()
        if time.monotonic() - begin < STALE * self._lease_s:  # what was renewed before the kill looks fresh
            return False
        try:
            return self._plant.is_ready() and all(self._is_worked_on(job) for job in running)
        except LOST:
            return False

    def _is_worked_on(self, job: Job) -> bool:
        """Whether its lease was renewed just now; or it has ended."""
        left_s = self._bus.pttl(keys.lease(job.sequence)) / 1000
        return left_s > (1 - STALE) * self._lease_s or Jobs(self._bus).get(job.id).state.final
