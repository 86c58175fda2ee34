"""A manifest at a glance, and the refusal of sums that are not true."""

import pytest

from microdose.errors import CorruptStream
from microdose.manifest import ByteCounts
from microdose_client.results import info_of
from tests.tiny_base import tiny_sequence


def test_counts_every_byte_of_the_sequence() -> None:
    manifest = tiny_sequence(3).manifest
    info = info_of(manifest)
    pixels = 24 * (40 + 41 + 42)
    assert (info.pictures, info.pixels, info.doses) == (3, pixels, ("full",))
    dose = manifest.epochs[0].dose
    assert dose is not None
    total = sum(segment.blob.size for segment in manifest.segments) + dose.size
    assert info.bpp_total == 8 * total / pixels


def test_an_empty_sequence_has_no_bpp() -> None:
    manifest = tiny_sequence(1).manifest
    dose = manifest.epochs[0].dose
    assert dose is not None
    empty = manifest.model_copy(update={"segments": (), "bytes": ByteCounts(dose=dose.size)})
    assert info_of(empty).bpp_total == 0


def test_refuses_a_manifest_that_flatters_itself() -> None:
    manifest = tiny_sequence(2).manifest
    with pytest.raises(CorruptStream, match="counts 1 bytes"):
        info_of(manifest.model_copy(update={"bytes": ByteCounts(latents=1)}))
