"""A live sequence on a stage of its own, and distillations that stand in for real ones."""

import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import redis

from microdose import keys
from microdose.decoder import Decoder
from microdose.dose import DoseKind
from microdose.errors import Fenced
from microdose.manifest import Event, Manifest, parse_manifest
from microdose.resources import DoseAim, DoseChoice, Frame, Job, SequenceCreate
from microdose_server.distil.specialise import Dosed, Progress
from microdose_server.jobs import outcome
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.distiller import Made, Next, Seen
from microdose_server.jobs.live import LiveEncoder, stream
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Settings
from microdose_server.store import arrivals
from microdose_server.store.blobs import originals, public_blobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo
from tests.streams import entries
from tests.tiny_base import tiny_dose
from tests.tiny_encoder import TinyEncoder

BASE = TinyEncoder().base
PATIENCE_S = 150
NOTHING = Made(Dosed(None, DoseKind.NONE, 1.0, 1.0), None, 1.0)


def no_dose(
    pictures: Sequence[Seen], count: int, following: Next, report: Callable[[Progress], None]
) -> Made:
    """A distillation that finds nothing worth its bytes."""
    return NOTHING


def good_dose(
    pictures: Sequence[Seen], count: int, following: Next, report: Callable[[Progress], None]
) -> Made:
    """A distillation that halves the distortion at once, and then finds nothing more."""
    dosed = Dosed(tiny_dose(BASE, following.epoch), DoseKind.FULL, 1.0, 0.5)
    return Made(dosed, None, 1.0 if following.shown else 0.5)


def chained(
    pictures: Sequence[Seen], count: int, following: Next, report: Callable[[Progress], None]
) -> Made:
    """A distillation that finds something better every time, always from the newest dose that there is."""
    parent, chain = list(following.starts.items())[-1]
    data = tiny_dose(BASE, following.epoch, seed=following.epoch, parent=chain[-1] if chain else None)
    return Made(Dosed(data, DoseKind.FULL, 1.0, 0.5), parent, 0.5)


@dataclass
class Stage:
    """One live sequence, its publisher's and its worker's hands."""

    client: redis.Redis
    settings: Settings
    job: Job
    encoder: LiveEncoder = field(default_factory=TinyEncoder)

    @property
    def id(self) -> str:
        return self.job.sequence

    def put(self, n: int, pixels: Pixels | None = None) -> bool:
        data = encode(photo(n) if pixels is None else pixels)
        digest = originals(self.settings.data_dir).put(data)
        frame = Frame(n=n, digest=digest, size=len(data), width=96, height=64, name=f"{n}.png")
        return Sequences(self.client).put_frame(self.id, frame, self.settings.limits)

    def complete(self) -> None:
        arrivals.complete(self.client, self.id)

    def begin(self) -> Assignment:
        begun = outcome.begin(self.client, Jobs(self.client).get(self.job.id))
        assert begun is not None
        job, attempt = begun
        return Assignment(
            self.client, self.settings, attempt, Reporter(Jobs(self.client), job, attempt.token)
        )

    def work(self, distil: Callable[..., Made] | None = no_dose, given: Assignment | None = None) -> None:
        stream(given or self.begin(), Sequences(self.client).get(self.id), self.encoder, distil)
        outcome.follow(self.client, self.job.id)

    @contextmanager
    def working(
        self,
        distil: Callable[..., Made] | None = no_dose,
        *,
        fenced: bool = False,
        given: Assignment | None = None,
    ) -> Iterator[None]:
        """A worker beside the test, which has to end by itself, because another goes on if `fenced`."""
        errors: list[BaseException] = []
        given = given or self.begin()

        def run() -> None:
            try:
                self.work(distil, given)
            except BaseException as error:
                errors.append(error)

        thread = threading.Thread(target=run)
        thread.start()
        yield
        thread.join()
        assert [type(error) for error in errors] == ([Fenced] if fenced else [])

    def manifest(self) -> Manifest:
        data = read_manifest(self.client, self.id)
        assert data is not None
        return parse_manifest(data)

    def shows(self, count: int) -> bool:
        """Whether there are that many segments soon."""
        return poll(lambda: self.published() == count, PATIENCE_S)

    def published(self) -> int:
        """How many segments were published so far, those that have left the window too."""
        return sum(event.type == "segment" for event in self.events())

    def events(self) -> list[Event]:
        return [Event.model_validate_json(data) for _, data in entries(self.client, keys.events(self.id))]

    def decode(self, n: int) -> Pixels:
        """As a viewer does."""
        store, manifest = public_blobs(self.settings.data_dir), self.manifest()
        (entry,) = [entry for entry in manifest.segments if entry.n == n]
        doses = [store.get(dose.digest) for dose in manifest.doses(entry.epoch)]
        return Decoder(BASE, *doses, threads=1).decode(store.get(entry.blob.digest)).pixels


@pytest.fixture
def stage(bus: redis.Redis, tmp_path: Path) -> Callable[..., Stage]:
    def make(
        dose: DoseChoice = DoseChoice.AUTO, aim: DoseAim = DoseAim.ORIGINALS, **settings: object
    ) -> Stage:
        wish = SequenceCreate(name="camera", live=True, dose=dose, aim=aim)
        job = JobQueue(bus).enqueue(Sequences(bus).create(wish).id)
        return Stage(bus, Settings.model_validate({"data_dir": tmp_path, **settings}), job)

    return make


MakeStage = Callable[..., Stage]
