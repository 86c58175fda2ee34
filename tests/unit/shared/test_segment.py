from dataclasses import replace

import pytest

from microdose.errors import CorruptStream, UnsupportedVersion
from microdose.segment import PictureHeader, Segment, latent_side, pack_segment, parse_segment
from microdose.wire import Unit, UnitType, read_blob, write_blob

HEADER = PictureHeader(40, 24, 2, 3, 7, b"basebase", b"hash")
SEGMENT = Segment(HEADER, b"hyper", b"latents")


def test_round_trip() -> None:
    assert parse_segment(pack_segment(SEGMENT)) == SEGMENT


def test_the_header_has_the_documented_layout() -> None:
    payload = read_blob(pack_segment(SEGMENT))[0].payload
    assert payload == bytes([1, 40, 0, 24, 0, 2, 0, 3, 0, 7, 0, 0, 0]) + b"basebase" + b"hash"


@pytest.mark.parametrize(("pixels", "latents"), [(1, 1), (16, 1), (17, 2), (768, 48), (16384, 1024)])
def test_latents_cover_the_picture(pixels: int, latents: int) -> None:
    assert latent_side(pixels) == latents


@pytest.mark.parametrize(
    "change",
    [
        {"width": 0, "latent_width": 0},
        {"width": 16385, "latent_width": 1025},
        {"width": 16384, "height": 16384, "latent_width": 1024, "latent_height": 1024},
        {"latent_width": 4},
        {"latent_height": 1},
        {"epoch": 2**32},
        {"base_prefix": b"short"},
        {"index_hash": b""},
    ],
)
def test_impossible_headers_are_not_written(change: dict[str, int | bytes]) -> None:
    with pytest.raises(CorruptStream):
        pack_segment(replace(SEGMENT, header=replace(HEADER, **change)))  # type: ignore[arg-type]


def rebuilt(header: bytes) -> bytes:
    """A blob around any header bytes."""
    return write_blob(
        (Unit(UnitType.PICTURE, header), Unit(UnitType.HYPER, b""), Unit(UnitType.LATENTS, b""))
    )


def test_lying_headers_are_refused() -> None:
    good = read_blob(pack_segment(SEGMENT))[0].payload
    with pytest.raises(CorruptStream, match="instead of 25"):
        parse_segment(rebuilt(good + b"\0"))
    with pytest.raises(CorruptStream, match="do not fit"):
        parse_segment(rebuilt(good[:5] + b"\xff\xff" + good[7:]))
    with pytest.raises(CorruptStream, match="16384"):
        parse_segment(rebuilt(b"\1" + b"\xff" * 8 + good[9:]))
    with pytest.raises(UnsupportedVersion, match="colour type 2"):
        parse_segment(rebuilt(b"\2" + good[1:]))


def test_units_must_be_these_in_this_order() -> None:
    picture, hyper, latents, _ = read_blob(pack_segment(SEGMENT))
    for units in [(picture, latents, hyper), (picture, hyper), (picture, hyper, latents, latents), ()]:
        with pytest.raises(CorruptStream, match="not a segment"):
            parse_segment(write_blob(units))
