"""The API that hostile requests are sent to: real processes, with something published to ask for."""

import json
import tempfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

from benchmarks.parts.plant import API, Plant
from benchmarks.parts.requests import Scene
from microdose.resources import SequenceCreate
from microdose_server.settings import Settings
from microdose_server.store.apikeys import Scope
from microdose_server.store.lock import poll
from microdose_server.store.redis import connect
from microdose_server.store.sequences import Sequences
from tests.served import Served

START_S = 60.0
ENVIRON = {
    "MICRODOSE_LIMITS__SILENCE_S": "2",
    "MICRODOSE_LIMITS__HEAD_S": "2",
    "MICRODOSE_LIMITS__PICTURE_S": "20",
    "MICRODOSE_RESERVE_BYTES": "0",
    "MICRODOSE_LOG_FORMAT": "json",
}


class Stage:
    """An API on its feet; `scene` says what is there."""

    def __init__(self, plant: Plant, scene: Scene) -> None:
        self.scene, self.plant = scene, plant
        self._read = 0

    def peak_mb(self) -> int:
        """The API's peak of memory so far."""
        return peak_mb(self.plant.pid(API))

    def complaints(self) -> list[str]:
        """What has gone wrong since this was asked last: an API that has died, and is started again, and
        every error in its log.
        """
        ended: list[str] = []

        def stands() -> bool:
            ended.extend(self.plant.tend())
            return self.plant.is_ready()

        found = [] if poll(stands, START_S) else ["the API does not get ready"]
        found += [f"{name} has ended" for name in ended]
        with self.plant.log(API).open(errors="replace") as log:
            log.seek(self._read)
            lines = log.readlines()
            self._read = log.tell()
        return found + [complaint for line in lines if (complaint := error_of(line))]


def error_of(line: str) -> str | None:
    """What a line of the log complains of; None for any other."""
    try:
        said = json.loads(line)
    except ValueError:
        return None if line.startswith("microdose-server is ready") else f"unexpected: {line[:300]}"
    if said["level"] not in ("error", "critical"):
        return None
    return f"{said['message'].strip()}: {said.get('error', '').strip()[-400:]}"


def peak_mb(pid: int | str) -> int:
    """A process's peak of memory. getrusage would count that of the process it was started from, too."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


@contextmanager
def staged() -> Iterator[Stage]:
    """An API with a published sequence, one that takes frames, and one that is live; gone at the end."""
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plant = stack.enter_context(Plant(folder, environ=ENVIRON))
        if not poll(plant.is_ready, START_S):
            raise RuntimeError(f"the API did not start: {plant.log(API).read_text()[-2000:]}")
        bus = stack.enter_context(connect(plant.valkey.url))
        http = stack.enter_context(httpx.Client())
        served = Served(plant.url, http, Settings(data_dir=folder, redis_url=plant.valkey.url), bus)
        job = served.queued()
        manifest = served.publish(job)
        scene = Scene(
            port=plant.port,
            key=plant.key(Scope.PUBLISH, Scope.VIEW, Scope.WORKER),
            published=manifest.sequence,
            open=served.create(),
            live=Sequences(bus).create(SequenceCreate(live=True)).id,
            job=job.id,
            blob=manifest.segments[0].blob.digest,
        )
        yield Stage(plant, scene)
