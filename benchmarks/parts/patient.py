"""A publisher's means against a service that dies again and again: everything is tried until it works."""

import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from benchmarks.parts.plant import Plant
from benchmarks.parts.tally import Tally
from microdose.errors import Unavailable
from microdose.patience import Retry
from microdose.problem import ProblemError
from microdose.resources import Job, JobState
from microdose_client import Client
from microdose_client.api import Api
from microdose_client.http import Http
from microdose_client.threads import Loop
from microdose_server.store.embedded import socket_url
from microdose_server.store.redis import LOST, connect

STUCK_S = 180.0
POLL_S = 0.05
RETRY = Retry(attempts=40, first_s=0.1, cap_s=2.0)
T = TypeVar("T")


class Patient:
    """A context manager: clients of one server, each a thread's own. `given_up` ends all waiting."""

    def __init__(self, plant: Plant, key: str, tally: Tally, cache: Path) -> None:
        self.tally = tally
        self.given_up = threading.Event()
        self.client = Client(plant.url, key=key, retry=RETRY, cache_dir=cache)
        self.bus = connect(socket_url(plant.folder))
        self._loop = Loop()
        self.run = self._loop.run
        self.api = Api(Http(plant.url, key=key, retry=RETRY))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.run(self.api.close)
        self._loop.close()
        self.client.close()
        self.bus.close()

    def persist(self, action: Callable[[], T], *passing: type[Exception]) -> T:
        """`action`, again and again while the service is away, or says what is `passing`. Raises Unavailable
        once given up.
        """
        expected: tuple[type[Exception], ...] = (Unavailable, *LOST, *passing)
        while True:
            try:
                return action()
            except expected as error:
                if self.given_up.is_set():
                    raise Unavailable("nobody waits any more") from error
            except ProblemError as error:
                if error.problem.status < 500:
                    raise
            time.sleep(POLL_S)

    def succeeds(self, job: Job, pictures: int) -> bool:
        """Wait for the end of a job; notes one that is stuck, and the pictures of one that has failed."""
        begin = time.monotonic()
        while not (job := self.persist(lambda: self.run(self.api.job, job.id, wait=2))).state.final:
            if time.monotonic() > max(begin, self.tally.last_kill) + STUCK_S:
                self.tally.note("stuck", 1, f"job {job.id} is {job.state} in {job.phase}")
                return False
        if job.state is not JobState.SUCCEEDED:
            self.tally.note("lost", pictures, f"job {job.id} {job.state}: {job.error}")
        return job.state is JobState.SUCCEEDED
