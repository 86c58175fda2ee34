import json
from typing import Any

import pytest

from microdose.base import Base, Descriptor, load_base
from microdose.digest import digest_of
from microdose.errors import CorruptStream, DigestMismatch
from tests.tiny_base import tiny_base

TINY = tiny_base()
BLOBS = {digest_of(data): data for data in (TINY.student, TINY.hyper)}


def fetch(descriptor: Descriptor) -> bytes:
    return BLOBS[descriptor.digest]


def altered(**changes: Any) -> bytes:
    """The document with some fields replaced."""
    return json.dumps(json.loads(TINY.document.to_bytes()) | changes).encode()


def test_a_base_loads_with_its_graphs() -> None:
    loaded = load_base(TINY.document.to_bytes(), fetch)
    assert loaded == TINY
    assert loaded.digest == digest_of(TINY.document.to_bytes())
    assert len(loaded.prefix) == 8


def test_the_digest_covers_fields_that_this_program_ignores() -> None:
    data = altered(invented_later=1)
    assert load_base(data, fetch).digest == digest_of(data) != TINY.digest


def test_graphs_of_wrong_size_or_bytes_are_refused() -> None:
    with pytest.raises(CorruptStream, match="bytes, not"):
        load_base(TINY.document.to_bytes(), lambda descriptor: fetch(descriptor) + b"!")
    with pytest.raises(DigestMismatch):
        load_base(TINY.document.to_bytes(), lambda descriptor: bytes(descriptor.size))


def slot(**changes: Any) -> dict[str, Any]:
    return {"name": "w", "offset": 0, "length": 16, "shape": [2, 2], "kind": "weight"} | changes


@pytest.mark.parametrize(
    ("changes", "match"),
    [
        ({"format": "other"}, "format"),
        ({"version": 2}, "version"),
        ({"stride": 8}, "stride"),
        ({"latent_channels": 0}, "latent_channels"),
        ({"hyper_channels": 5}, "5 hyper channels"),
        ({"scale_thresholds": [3, 3, 5, 9]}, "increase"),
        ({"scale_thresholds": [3]}, "5 tables for 1 thresholds"),
        ({"scale_thresholds": []}, "scale_thresholds"),
        ({"kmac_per_pixel": float("inf")}, "malformed"),
        ({"tensors": [slot(length=12)]}, "cannot be 12 bytes"),
        ({"tensors": [slot(), slot(offset=8)]}, "overlaps"),
        ({"tensors": [slot(offset=len(TINY.student) - 8)]}, "tensors end at byte"),
        ({"tensors": [slot(shape=[2**20] * 6)]}, "cannot be 16 bytes"),
        ({"tensors": [slot(shape=[])]}, "shape"),
        ({"tensors": [slot(offset=-4)]}, "offset"),
    ],
)
def test_documents_that_cannot_be_are_refused(changes: dict[str, Any], match: str) -> None:
    with pytest.raises(CorruptStream, match=match):
        load_base(altered(**changes), fetch)


def test_the_canonical_form_is_stable() -> None:
    data = TINY.document.to_bytes()
    assert Base.model_validate_json(data).to_bytes() == data
