import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.ids import new_id
from microdose.manifest import parse_manifest
from microdose.resources import Frame
from microdose.segment import parse_segment
from microdose_server.jobs.publication import Coded, Epoch, Publication, make_publication, make_results
from tests.tiny_base import tiny_base, tiny_dose, tiny_segment

BASE = tiny_base()


def make(pictures: int, dose: bytes | None = None) -> Publication:
    coded = [
        Coded(
            Frame(
                n=n, digest=digest_of(b""), size=9, width=40, height=24, name=f"{n}.png", notes=("turned",)
            ),
            tiny_segment(BASE, seed=n),
        )
        for n in range(pictures)
    ]
    kind = DoseKind.FULL if dose else DoseKind.NONE
    return make_publication(new_id(), "a name", BASE, coded, [Epoch(kind, dose)])


@pytest.mark.parametrize("dose", [None, tiny_dose(BASE)], ids=["generic", "dosed"])
def test_every_blob_that_is_named_is_there(dose: bytes | None) -> None:
    made = make(3, dose)
    there = {blob.descriptor.digest: blob for blob in made.blobs}
    named = {*made.manifest.descriptors(), BASE.document.student, BASE.document.hyper}
    assert {descriptor.digest for descriptor in named} == set(there)
    assert all(there[descriptor.digest].descriptor == descriptor for descriptor in named)


@pytest.mark.parametrize("dose", [None, tiny_dose(BASE)], ids=["generic", "dosed"])
@pytest.mark.parametrize("pictures", [1, 2, 30])
def test_every_byte_is_counted_once(pictures: int, dose: bytes | None) -> None:
    made = make(pictures, dose)
    segments = [blob.data for blob in made.blobs if blob.media_type.endswith("segment")]
    counts = made.manifest.bytes
    assert counts.total == sum(map(len, segments)) + len(dose or b"") + len(made.manifest.to_bytes())
    assert counts.latents == sum(len(s.hyper) + len(s.latents) for s in map(parse_segment, segments))
    assert counts.dose == len(dose or b"")
    assert counts.base == len(BASE.document.to_bytes()) + len(BASE.student) + len(BASE.hyper)


@given(st.integers(1, 12))
def test_events_tell_what_the_manifest_does(pictures: int) -> None:
    made = make(pictures)
    assert [event.seq for event in made.events] == list(range(1, pictures + 3))
    assert [event.type for event in made.events] == ["init", *["segment"] * pictures, "end"]
    assert tuple(event.segment for event in made.events[1:-1]) == made.manifest.segments
    assert (made.manifest.seq, made.manifest.last_event_id) == (pictures + 2, f"{pictures + 2}-0")
    assert made.manifest.ended
    assert parse_manifest(made.manifest.to_bytes()) == made.manifest


def test_entries_keep_the_frames_names_and_notes() -> None:
    entry = make(2).manifest.segments[1]
    assert (entry.n, entry.name, entry.notes, entry.width, entry.height) == (1, "1.png", ("turned",), 40, 24)


def test_results_count_every_byte_per_pixel() -> None:
    made = make(2, tiny_dose(BASE))
    results = make_results(made.manifest, {"encode": 1.5})
    assert (results.pictures, results.pixels, results.dose_kind) == (2, 2 * 40 * 24, DoseKind.FULL)
    assert results.bpp_total == pytest.approx(8 * made.manifest.bytes.total / results.pixels)
    assert results.seconds == {"encode": 1.5}


def make_shots() -> Publication:
    """Epoch 0, epoch 1 which builds on it, epoch 0 again, and at last the generic student."""
    first = tiny_dose(BASE, 0)
    epochs = [
        Epoch(DoseKind.GAINS, first),
        Epoch(DoseKind.FULL, tiny_dose(BASE, 1, parent=first), parent=0),
        Epoch(DoseKind.NONE),
    ]
    coded = [
        Coded(
            Frame(n=n, digest=digest_of(b""), size=9, width=40, height=24), tiny_segment(BASE, seed=n)
        ).in_epoch(epoch)
        for n, epoch in enumerate([0, 0, 1, 0, 2])
    ]
    assert [one.epoch for one in coded] == [0, 0, 1, 0, 2]
    return make_publication(new_id(), None, BASE, coded, epochs)


def test_every_epoch_is_listed_with_its_first_picture_and_parent() -> None:
    made = make_shots()
    manifest = parse_manifest(made.manifest.to_bytes())
    assert [(e.epoch, e.kind.value, e.first, e.parent) for e in manifest.epochs] == [
        (0, "gains", 0, None),
        (1, "full", 2, 0),
        (2, "none", 4, None),
    ]
    assert [entry.epoch for entry in manifest.segments] == [0, 0, 1, 0, 2]
    assert manifest.bytes.dose == sum(dose.size for dose in manifest.doses(1))
    assert {descriptor.digest for descriptor in manifest.descriptors()} <= {
        blob.descriptor.digest for blob in made.blobs
    }
    assert make_results(manifest, {}).dose_kind is DoseKind.FULL


def test_who_follows_the_events_hears_of_an_epoch_before_its_pictures() -> None:
    made = make_shots()
    kinds = ["init", "segment", "segment", "init", "segment", "segment", "init", "segment", "end"]
    assert [event.type for event in made.events] == kinds
    assert [event.seq for event in made.events] == list(range(1, 10))
    told = [event for event in made.events if event.type == "init"]
    for event, entry in zip(told, made.manifest.epochs, strict=True):
        assert (event.epoch, event.kind, event.dose, event.parent, event.first) == (
            entry.epoch,
            entry.kind,
            entry.dose,
            entry.parent,
            entry.first,
        )
