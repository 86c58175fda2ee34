"""What a running job tells the world: its phase, its step, when it may be done."""

import logging
import time

import redis

from microdose.errors import Fenced
from microdose.resources import Job
from microdose_server.jobs.records import Jobs

EVERY_S = 0.5
"""The shortest time between two reports of one phase: a reader needs no more."""
REPORTS = 1000
"""The longer a phase takes the rarer they are, so that the stream keeps them all: about this many, and
as many again each time the phase takes 2.7 times as long.
"""

log = logging.getLogger(__name__)


def gap(elapsed: float, every_s: float) -> float:
    """Seconds from one report of a phase to the next, `elapsed` seconds after it began."""
    return max(every_s, elapsed / REPORTS)


class Reporter:
    """Reports for one attempt at a job. `seconds` is the time each phase took, the present one included."""

    def __init__(self, jobs: Jobs, job: Job, token: int, every_s: float = EVERY_S) -> None:
        self.job = job
        self.seconds: dict[str, float] = {}
        self._jobs = jobs
        self._token = token
        self._every_s = every_s
        self._begun = self._told = time.monotonic()

    def phase(self, name: str, steps: int = 0) -> None:
        """A new phase of `steps` steps begins. Raises Fenced as `step`."""
        self._begun = time.monotonic()
        self.seconds[name] = 0.0
        self._tell({"phase": name, "step": 0, "steps": steps, "loss": None, "psnr": None, "eta_s": None})

    def step(
        self, step: int, loss: float | None = None, psnr: float | None = None, *, steps: int | None = None
    ) -> None:
        """`step` steps of this phase are done; `steps` corrects how many there will be.

        Raises:
            Fenced: the job was cancelled, or another attempt has taken over; stop working.
        """
        now = time.monotonic()
        elapsed = now - self._begun
        self.seconds[self.job.phase or ""] = elapsed
        steps = self.job.steps if steps is None else steps
        if now - self._told < gap(elapsed, self._every_s) and step < steps:
            return
        eta = elapsed / step * max(0, steps - step) if step else None
        self._tell({"step": step, "steps": steps, "loss": loss, "psnr": psnr, "eta_s": eta})

    def _tell(self, changes: dict[str, object]) -> None:
        self._told = time.monotonic()
        self.job = self.job.model_copy(update=changes)
        try:
            written = self._jobs.write(self.job, self._token)
        except redis.RedisError as error:  # hours of work are worth more than one report
            log.warning("no report of job %s: %s", self.job.id, error)
            return
        if not written:
            raise Fenced(f"job {self.job.id} has ended: cancelled, or done by another attempt")
