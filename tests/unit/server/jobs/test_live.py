"""Live sequences as their worker publishes them; only the teacher and the distillation are stand-ins."""

from collections.abc import Callable, Sequence

import pytest

from microdose import keys
from microdose.dose import DoseKind
from microdose.problem import ProblemError
from microdose.resources import DoseAim, DoseChoice, JobState, SequenceState
from microdose_server.codec.encode import Encoder
from microdose_server.distil.specialise import Dosed, Progress
from microdose_server.jobs.distiller import Digests, Made, Next, Seen
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Limits
from microdose_server.store.blobs import checkpoints
from microdose_server.store.drafts import read_checkpoint
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences
from tests.photos import photo
from tests.stage import BASE, NOTHING, PATIENCE_S, MakeStage, chained, good_dose
from tests.tiny_base import tiny_dose


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


def test_without_room_for_doses_it_goes_on(stage: MakeStage, caplog: pytest.LogCaptureFixture) -> None:
    live, n = stage(reserve_bytes=2**60), 0
    with live.working(good_dose):
        while "goes on without a dose" not in caplog.text:
            live.put(n)
            n += 1
            assert live.shows(n)
        live.put(n)
        assert live.shows(n + 1)
        live.complete()
    assert [entry.kind for entry in live.manifest().epochs] == [DoseKind.NONE]
    assert Jobs(live.client).get(live.job.id).state is JobState.SUCCEEDED


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


@pytest.mark.parametrize("aim", DoseAim)
def test_another_worker_takes_up_the_round_that_was_under_way(
    stage: MakeStage, tiny_encoder: Encoder, aim: DoseAim
) -> None:
    """The first never gets to the end of a round; the second is given its pictures at once."""
    live = stage(DoseChoice.FULL, aim, checkpoint_s=0, distil_steps=10**9)
    live.encoder = tiny_encoder
    taken: list[tuple[list[Digests], int]] = []

    def note(
        pictures: Sequence[Seen], count: int, following: Next, report: Callable[[Progress], None]
    ) -> Made:
        taken.append(([seen.digests for seen in pictures], count))
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
    frames = Sequences(live.client).frames(live.id)
    published = [
        Digests(segment.blob.digest, frame.digest)
        for segment, frame in zip(live.manifest().segments[:4], frames, strict=False)
    ]
    assert taken[0] == (published, 4)
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


def test_what_is_published_keeps_no_frame_out(stage: MakeStage) -> None:
    live = stage(limits=Limits(max_frames=2, max_sequence_pixels=2 * 96 * 64))
    with live.working():
        for n in range(4):
            live.put(n)
            assert live.shows(n + 1)
        live.complete()
    assert [entry.n for entry in live.manifest().segments] == [0, 1, 2, 3]


def test_frames_are_taken_until_they_are_behind_too_many_or_the_last(stage: MakeStage) -> None:
    live = stage(limits=Limits(max_frames=3))
    assert live.put(0)
    assert not live.put(0)
    live.put(1), live.put(2)
    with pytest.raises(ProblemError, match=r"3 frames of sequence \w+ wait") as caught:
        live.put(3)
    assert caught.value.problem.status == 429
    live.complete()
    with pytest.raises(ProblemError, match="complete"):
        live.put(1, photo(7))
    live.work()
    with pytest.raises(ProblemError, match="takes no more"):
        live.put(4)
