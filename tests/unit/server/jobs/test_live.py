"""Live sequences as their worker publishes them; only the teacher and the distillation are stand-ins."""

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
from microdose.problem import ProblemError
from microdose.resources import DoseChoice, Frame, Job, JobState, SequenceCreate, SequenceState
from microdose_server.codec.encode import Encoder
from microdose_server.distil.specialise import Dosed, Progress
from microdose_server.jobs import outcome
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.distiller import Made, Next, Seen
from microdose_server.jobs.live import LiveEncoder, stream
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Limits, Settings
from microdose_server.store import arrivals
from microdose_server.store.blobs import checkpoints, originals, public_blobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.drafts import read_checkpoint
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo
from tests.streams import entries
from tests.tiny_base import tiny_dose
from tests.tiny_encoder import TinyEncoder

BASE = TinyEncoder().base
PATIENCE_S = 60
NOTHING = Made(Dosed(None, DoseKind.NONE, 1.0, 1.0), None, 1.0)


def no_dose(pictures: Sequence[Seen], following: Next, report: Callable[[Progress], None]) -> Made:
    """A distillation that finds nothing worth its bytes."""
    return NOTHING


def good_dose(pictures: Sequence[Seen], following: Next, report: Callable[[Progress], None]) -> Made:
    """A distillation that halves the distortion at once, and then finds nothing more."""
    dosed = Dosed(tiny_dose(BASE, following.epoch), DoseKind.FULL, 1.0, 0.5)
    return Made(dosed, None, 1.0 if following.shown else 0.5)


def chained(pictures: Sequence[Seen], following: Next, report: Callable[[Progress], None]) -> Made:
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
    def make(dose: DoseChoice = DoseChoice.AUTO, **settings: object) -> Stage:
        wish = SequenceCreate(name="camera", live=True, dose=dose)
        job = JobQueue(bus).enqueue(Sequences(bus).create(wish).id)
        return Stage(bus, Settings.model_validate({"data_dir": tmp_path, **settings}), job)

    return make


MakeStage = Callable[..., Stage]


def test_every_frame_is_published_when_it_comes(stage: MakeStage) -> None:
    live = stage()
    with live.working():
        for n in range(3):
            live.put(n)
            assert live.shows(n + 1)
            assert live.decode(n).shape == (64, 96, 3)
        assert not live.manifest().ended
        live.complete()
    assert live.manifest().ended
    assert [event.type for event in live.events()] == ["init", *3 * ["segment"], "end"]
    assert [event.seq for event in live.events()] == [1, 2, 3, 4, 5]
    sequence = Sequences(live.client).get(live.id)
    assert (sequence.state, sequence.next) == (SequenceState.PUBLISHED, 3)
    assert Jobs(live.client).get(live.job.id).state is JobState.SUCCEEDED
    assert sequence.results is not None
    assert (sequence.results.pictures, sequence.results.pixels) == (3, 3 * 96 * 64)
    assert sequence.results.bytes == live.manifest().bytes
    assert live.manifest().bytes.headers > len(live.manifest().to_bytes())


def test_a_dose_begins_an_epoch_that_is_told_ahead(stage: MakeStage) -> None:
    live, n = stage(), 0
    with live.working(good_dose):
        while sum(entry.epoch == 1 for entry in live.manifest().segments) < 2 if n else True:
            live.put(n)
            n += 1
            assert live.shows(n)
        live.complete()
    events = live.events()
    (init,) = [event for event in events if event.type == "init" and event.epoch == 1]
    first = next(event for event in events if event.segment and event.segment.epoch == 1)
    assert init.first == first.segment.n if first.segment else False
    assert init.seq < first.seq
    entry = live.manifest().epoch(1)
    assert (entry.dose, entry.kind, entry.first) == (init.dose, init.kind, init.first)
    assert live.decode(n - 1).shape == (64, 96, 3)
    results = Sequences(live.client).get(live.id).results
    assert results is not None
    assert results.bytes.dose == entry.dose.size if entry.dose else False
    assert results.dose_kind is DoseKind.FULL


def test_a_dose_may_build_on_the_one_before(stage: MakeStage) -> None:
    live, n = stage(), 0
    with live.working(chained):
        while live.manifest().segments[-1].epoch < 2 if n else True:
            live.put(n)
            n += 1
            assert live.shows(n)
        live.complete()
    manifest = live.manifest()
    assert [(entry.epoch, entry.parent) for entry in manifest.epochs[:3]] == [(0, None), (1, None), (2, 1)]
    inits = [event for event in live.events() if event.type == "init"]
    assert [event.parent for event in inits[:3]] == [None, None, 1]
    assert live.decode(n - 1).shape == (64, 96, 3)


def test_another_worker_builds_on_what_is_published(stage: MakeStage) -> None:
    live, n = stage(), 0
    with live.working(chained, fenced=True):
        while live.manifest().segments[-1].epoch < 1 if n else True:
            live.put(n)
            n += 1
            assert live.shows(n)
        second = live.begin()
        live.put(n)
    with live.working(chained, given=second):
        while live.manifest().segments[-1].epoch < 2:
            assert live.shows(n + 1)
            n += 1
            live.put(n)
        live.complete()
    assert live.manifest().epoch(2).parent == 1
    assert live.decode(n).shape == (64, 96, 3)


def test_another_worker_takes_up_the_round_that_was_under_way(
    stage: MakeStage, tiny_encoder: Encoder
) -> None:
    """The first never gets to the end of a round; the second is given its pictures at once."""
    live = stage(DoseChoice.FULL, checkpoint_s=0, distil_steps=10**9)
    live.encoder = tiny_encoder
    taken: list[list[str]] = []

    def note(pictures: Sequence[Seen], following: Next, report: Callable[[Progress], None]) -> Made:
        taken.append([seen.segment for seen in pictures])
        return NOTHING

    with live.working(None, fenced=True):
        for n in range(4):
            live.put(n)
        assert poll(lambda: read_checkpoint(live.client, live.id) is not None, PATIENCE_S)
        second = live.begin()
        live.put(4)
    kept = read_checkpoint(live.client, live.id)
    with live.working(note, given=second):
        assert poll(lambda: bool(taken), PATIENCE_S)
        live.complete()
    assert taken[0] == [segment.blob.digest for segment in live.manifest().segments[:4]]
    assert read_checkpoint(live.client, live.id) is None
    assert kept not in set(checkpoints(live.settings.data_dir).digests())


def test_a_dose_whose_parent_has_left_the_window_is_dropped(
    stage: MakeStage, caplog: pytest.LogCaptureFixture
) -> None:
    def of_nothing(*_: object) -> Made:
        return Made(Dosed(tiny_dose(BASE, 1), DoseKind.FULL, 1.0, 0.5), 7, 0.5)

    live, n = stage(), 0
    with live.working(of_nothing):
        while "epoch 7 has left the window" not in caplog.text:
            live.put(n)
            n += 1
            assert live.shows(n)
        live.complete()
    assert len(live.manifest().epochs) == 1


def test_a_cut_begins_an_epoch_with_the_generic_student(stage: MakeStage) -> None:
    live = stage()
    for n in range(16):
        live.put(n, photo(n) if n < 14 else ~photo(n, name="flower.jpg"))
    live.complete()
    live.work()
    assert [(entry.epoch, entry.kind, entry.first) for entry in live.manifest().epochs] == [
        (0, DoseKind.NONE, 0),
        (1, DoseKind.NONE, 14),
    ]
    assert [entry.epoch for entry in live.manifest().segments] == [0] * 14 + [1] * 2


def test_a_missing_number_is_a_discontinuity(stage: MakeStage) -> None:
    live = stage()
    for n in (0, 1, 5):
        live.put(n)
    live.complete()
    live.work()
    assert [entry.n for entry in live.manifest().segments] == [0, 1, 5]
    (told,) = [event for event in live.events() if event.type == "discontinuity"]
    assert told.reason == "pictures 2 to 4 did not come"
    assert told.seq == 4


def test_the_manifest_lists_a_window(stage: MakeStage) -> None:
    live = stage(live_window=3)
    for n in range(7):
        live.put(n)
    live.complete()
    live.work()
    assert live.manifest().window == 3
    assert [entry.n for entry in live.manifest().segments] == [4, 5, 6]
    assert [frame.n for frame in Sequences(live.client).frames(live.id)] == [4, 5, 6]
    assert live.published() == 7
    results = Sequences(live.client).get(live.id).results
    assert results is not None
    assert results.pictures == 7
    assert results.bytes.latents > live.manifest().bytes.latents
    segments = [event.segment for event in live.events() if event.segment]
    lasting = [live.client.ttl(keys.blob_meta(segment.blob.digest)) for segment in segments]
    assert all(ttl <= 60 for ttl in lasting[:4])
    assert all(ttl > 60 for ttl in lasting[4:])


def test_another_worker_goes_on_and_nothing_is_published_twice(stage: MakeStage) -> None:
    live = stage(live_window=4)
    for n in range(6):
        live.put(n)
    with live.working(fenced=True):
        assert live.shows(6)
        before = Sequences(live.client).get(live.id).results
        second = live.begin()
        live.put(6)
    live.complete()
    live.work(given=second)
    events = live.events()
    assert [event.segment.n for event in events if event.segment] == list(range(7))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert [event.reason for event in events if event.type == "discontinuity"] == ["another worker goes on"]
    after = Sequences(live.client).get(live.id).results
    assert before is not None
    assert after is not None
    assert after.pictures == 7
    assert after.bytes.latents > before.bytes.latents
    growth = after.bytes.headers - before.bytes.headers
    assert growth < 2_000  # one segment's framing; the manifest's own length is counted once


def test_a_silent_publisher_ends_the_sequence(stage: MakeStage) -> None:
    live = stage(live_idle_s=0.2)
    live.put(0)
    live.work()
    end = live.events()[-1]
    assert (end.type, end.reason) == ("end", "no picture came for 0.2 s")
    assert Sequences(live.client).get(live.id).state is SequenceState.PUBLISHED


def test_cancelling_tells_the_viewers(stage: MakeStage) -> None:
    live = stage()
    live.put(0)
    with live.working(fenced=True):
        assert live.shows(1)
        JobQueue(live.client).cancel(live.job.id)
        with pytest.raises(ProblemError, match="cancelled"):
            live.put(1)
    assert live.manifest().ended
    assert (live.events()[-1].type, live.events()[-1].reason) == ("end", "job cancelled")


def test_a_distillation_that_fails_stops_nothing(stage: MakeStage) -> None:
    def broken(*_: object) -> Made:
        raise RuntimeError("no memory")

    live = stage()
    for n in range(8):
        live.put(n)
    live.complete()
    live.work(broken)
    assert live.published() == 8


def test_frames_are_taken_until_they_are_behind_too_many_or_the_last(stage: MakeStage) -> None:
    live = stage(limits=Limits(max_frames=3))
    assert live.put(0)
    assert not live.put(0)
    live.put(1), live.put(2)
    with pytest.raises(ProblemError, match="keeps 3 frames") as caught:
        live.put(3)
    assert caught.value.problem.status == 429
    live.complete()
    with pytest.raises(ProblemError, match="complete"):
        live.put(1, photo(7))
    live.work()
    with pytest.raises(ProblemError, match="takes no more"):
        live.put(4)
