import struct

import google_crc32c
import pytest

from microdose.errors import CorruptStream, UnsupportedVersion
from microdose.wire import CAPS, MAX_UNITS, Unit, UnitType, read_blob, write_blob

UNITS = (Unit(UnitType.PICTURE, b"header"), Unit(UnitType.LATENTS, bytes(range(256)) * 3))


def frame(number: int, payload: bytes) -> bytes:
    """A valid unit of any type, by hand."""
    length = len(payload)
    varint = bytes([length]) if length < 128 else bytes([length & 127 | 128, length >> 7])
    body = bytes([number]) + varint + payload
    return body + struct.pack("<I", google_crc32c.value(body))


HEAD, END = b"MDSE\x01", frame(6, b"")


def test_round_trip_appends_the_end_unit() -> None:
    assert read_blob(write_blob(UNITS)) == (*UNITS, Unit(UnitType.END, b""))


def test_the_layout_is_the_documented_one() -> None:
    assert write_blob((Unit(UnitType.PICTURE, b"abc"),)) == HEAD + frame(1, b"abc") + END


def test_unknown_types_with_the_high_bit_are_skipped() -> None:
    assert read_blob(HEAD + frame(0x80, b"later") + frame(1, b"a") + END)[0] == Unit(UnitType.PICTURE, b"a")


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "does not begin"),
        (b"MDSE", "does not begin"),
        (b"JPEG\x01" + END, "does not begin"),
        (HEAD, "no valid integer"),
        (HEAD + frame(1, b"a"), "no valid integer"),
        (HEAD + END + b"x", "follow the end unit"),
        (HEAD + END + END, "follow the end unit"),
        (HEAD + frame(7, b"") + END, "unit type 7"),
        (HEAD + frame(0, b"") + END, "unit type 0"),
        (HEAD + frame(1, b"a" * 65) + END, "over its cap"),
        (HEAD + frame(6, b"a"), "over its cap"),
        (HEAD + frame(1, b"abc")[:-1], "cut short"),
        (HEAD + b"\x01\xff\xff\xff\xff\x0f", "cut short"),
        (HEAD + frame(1, b"abc")[:-1] + b"!" + END, "damaged"),
        (HEAD + frame(0x80, b"") * MAX_UNITS + END, "units"),
    ],
)
def test_malformed_blobs_are_refused(data: bytes, match: str) -> None:
    with pytest.raises(CorruptStream, match=match):
        read_blob(data)


def test_a_newer_version_is_told_apart() -> None:
    with pytest.raises(UnsupportedVersion, match="update"):
        read_blob(b"MDSE\x02" + END)


def test_no_payload_over_its_cap_is_written() -> None:
    with pytest.raises(CorruptStream, match="over its cap"):
        write_blob((Unit(UnitType.PICTURE, bytes(CAPS[UnitType.PICTURE] + 1)),))


def test_every_single_bit_flip_is_noticed() -> None:
    blob = write_blob((Unit(UnitType.PICTURE, b"abc"),))
    for i in range(8 * len(blob)):
        damaged = bytearray(blob)
        damaged[i // 8] ^= 1 << i % 8
        with pytest.raises((CorruptStream, UnsupportedVersion)):
            read_blob(bytes(damaged))
