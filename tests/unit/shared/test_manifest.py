import json
from typing import Any

import pytest
from pydantic import ValidationError

from microdose.base import Descriptor
from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.errors import CorruptStream, UnsupportedVersion
from microdose.manifest import (
    MAX_EVENT_BYTES,
    MAX_MANIFEST_BYTES,
    ByteCounts,
    Event,
    SegmentEntry,
    parse_manifest,
)
from tests.tiny_base import tiny_sequence

MANIFEST = tiny_sequence().manifest


def altered(**changes: Any) -> bytes:
    """The manifest with some fields replaced."""
    return json.dumps(json.loads(MANIFEST.to_bytes()) | changes).encode()


def dosed(epoch: int, parent: int | None = None) -> dict[str, Any]:
    """An entry of `epochs` with a dose of its own."""
    blob = Descriptor(media_type="x/y", digest=digest_of(bytes([epoch])), size=1)
    return {"epoch": epoch, "kind": "full", "dose": blob.model_dump(), "parent": parent}


def test_round_trip() -> None:
    assert parse_manifest(MANIFEST.to_bytes()) == MANIFEST


def test_the_json_has_the_documented_names() -> None:
    names = (
        "base bytes critical ended epochs format last_event_id name protocol segments seq sequence "
        "version window"
    )
    assert list(json.loads(MANIFEST.to_bytes())) == names.split()


def test_unknown_fields_are_ignored_unless_critical() -> None:
    assert parse_manifest(altered(colour_space="p3")) == MANIFEST
    assert parse_manifest(altered(critical=["epochs"])).critical == ("epochs",)
    with pytest.raises(UnsupportedVersion, match="colour_space"):
        parse_manifest(altered(colour_space="p3", critical=["colour_space"]))


def test_a_newer_protocol_is_told_apart_even_where_the_rest_has_changed() -> None:
    with pytest.raises(UnsupportedVersion, match="protocol 2"):
        parse_manifest(b'{"format":"microdose-manifest","protocol":2,"tracks":[]}')


def test_doses_of_a_kind_that_is_not_known_yet_are_told_apart() -> None:
    with pytest.raises(UnsupportedVersion, match="doses of kind magic, unknown to this program: update it"):
        parse_manifest(altered(epochs=[{"epoch": 0, "kind": "magic"}]))


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "m3u8"}, "format"),
        ({"sequence": "../../etc/passwd"}, "sequence"),
        ({"version": -1}, "version"),
        ({"name": "x" * 201}, "name"),
        ({"epochs": []}, "epoch 0, which is not listed"),
        ({"epochs": [{"epoch": 0, "kind": "none"}] * 2}, "twice"),
        ({"epochs": [dosed(0), {"epoch": 1, "kind": "none", "parent": 0}]}, "a parent but no dose"),
        ({"epochs": [dosed(0), dosed(1, 1)]}, "builds on 1"),
        ({"epochs": [dosed(0, 1), dosed(1)]}, "builds on 1"),
        ({"epochs": [dosed(0), dosed(2, 1)]}, "builds on 1"),
        ({"epochs": [{"epoch": 0, "kind": "none"}, dosed(1, 0)]}, "builds on 0"),
        ({"epochs": [dosed(0), *(dosed(n, n - 1) for n in range(1, 9))]}, "at most 7"),
        ({"base": {"media_type": "x", "digest": "sha256:00", "size": 1}}, "base.digest"),
        ({"segments": [json.loads(MANIFEST.segments[0].to_bytes())] * 2}, "increasing n"),
        ({"last_event_id": "9" * 21}, "last_event_id"),
        ({"last_event_id": "$"}, "last_event_id"),
        ({"last_event_id": "\xe9"}, "last_event_id"),
    ],
)
def test_malformed_manifests_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(CorruptStream, match=match):
        parse_manifest(altered(**changes))


def test_size_is_limited() -> None:
    with pytest.raises(CorruptStream, match="over the limit"):
        parse_manifest(b" " * (MAX_MANIFEST_BYTES + 1))


def test_descriptors_name_base_doses_and_segments() -> None:
    media = [descriptor.media_type.rsplit(".", 1)[1] for descriptor in MANIFEST.descriptors()]
    assert media == ["base+json", "dose", "segment", "segment", "segment"]
    assert MANIFEST.epoch(0).kind is DoseKind.FULL


def test_an_epochs_doses_are_its_chain_from_the_oldest() -> None:
    epochs = [dosed(0), dosed(1, 0), dosed(2, 0), dosed(3, 2), {"epoch": 4, "kind": "none"}]
    manifest = parse_manifest(altered(epochs=epochs))
    chains = [[digest_of(bytes([each])) for each in chain] for chain in ([0], [0, 1], [0, 2], [0, 2, 3], [])]
    assert [[dose.digest for dose in manifest.doses(epoch)] for epoch in range(5)] == chains


def test_a_chain_of_eight_is_still_allowed() -> None:
    epochs = [dosed(0), *(dosed(n, n - 1) for n in range(1, 8))]
    assert len(parse_manifest(altered(epochs=epochs)).doses(7)) == 8


def test_epochs_written_before_there_were_parents_have_none() -> None:
    old = {"epoch": 0, "kind": "none", "dose": None}
    assert parse_manifest(altered(epochs=[old])).epochs[0].parent is None


def test_byte_counts_sum_without_the_base() -> None:
    assert ByteCounts(latents=1, dose=2, headers=4, base=8).total == 7


def entry(name: str, notes: tuple[str, ...] = ()) -> SegmentEntry:
    blob = Descriptor(media_type="m" * 100, digest=digest_of(b""), size=2**26)
    return SegmentEntry(n=2**53, epoch=2**53, name=name, width=16384, height=16384, blob=blob, notes=notes)


def test_events_fit_in_a_kibibyte_whatever_the_names() -> None:
    blob = entry("").blob
    for name in ("cat.png", "\U0001f408" * 200):
        segment = entry(name, ("a note of some length" * 8,) * 16)
        event = Event(
            seq=2**53, type="segment", epoch=2**53, segment=segment, dose=blob, parent=2**53, base=blob
        )
        data = event.to_bytes()
        assert len(data) <= MAX_EVENT_BYTES
        assert Event.model_validate_json(data).segment == entry("").model_copy(update={"name": None})


def test_small_events_keep_their_names() -> None:
    event = Event(seq=1, type="segment", segment=entry("cat.png"))
    assert Event.model_validate_json(event.to_bytes()) == event


def test_documents_are_frozen() -> None:
    with pytest.raises(ValidationError, match="frozen"):
        MANIFEST.version = 2
