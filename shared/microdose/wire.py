"""Framing of every blob that is neither a graph nor a JSON document.

blob := "MDSE" · version u8 · unit* · end unit
unit := type u8 · length varint · payload · crc32c u32 LE over type..payload
"""

import struct
from collections.abc import Iterable
from enum import IntEnum
from typing import NamedTuple

import google_crc32c

from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import CorruptStream, UnsupportedVersion
from microdose.varint import read_varint, write_varint

MAGIC = b"MDSE"
VERSION = 1
MAX_UNITS = 256


class UnitType(IntEnum):
    """What a unit holds."""

    PICTURE = 1
    HYPER = 2
    LATENTS = 3
    DOSE_HEADER = 4
    DOSE_TENSORS = 5
    END = 6


CAPS = {
    UnitType.PICTURE: 64,
    UnitType.HYPER: 4 * 2**20,
    UnitType.LATENTS: 32 * 2**20,
    UnitType.DOSE_HEADER: 64,
    UnitType.DOSE_TENSORS: 16 * 2**20,
    UnitType.END: 0,
}
"""Largest payload of each type, in bytes."""


class Unit(NamedTuple):
    """One framed payload."""

    type: UnitType
    payload: bytes


def write_blob(units: Iterable[Unit]) -> bytes:
    """A blob of these units and the end unit. Raises CorruptStream for a payload over its cap."""
    parts = [MAGIC, bytes([VERSION])]
    for unit in (*units, Unit(UnitType.END, b"")):
        if len(unit.payload) > CAPS[unit.type]:
            raise CorruptStream(f"{unit.type.name} of {len(unit.payload)} bytes is over its cap")
        body = bytes([unit.type]) + write_varint(len(unit.payload)) + unit.payload
        parts += [body, struct.pack("<I", google_crc32c.value(body))]
    return b"".join(parts)


def read_blob(data: bytes) -> tuple[Unit, ...]:
    """The units of a blob, end unit included; every CRC is checked before anything else is believed.

    Types with the high bit set are extensions and are skipped. Raises UnsupportedVersion for a newer version,
    CorruptStream for everything else.
    """
    if len(data) > MAX_BLOB_BYTES:
        raise CorruptStream(f"blob of {len(data)} bytes is over the limit of {MAX_BLOB_BYTES}")
    if data[:4] != MAGIC or len(data) < 5:
        raise CorruptStream("not a Microdose blob: it does not begin with MDSE and a version")
    if data[4] != VERSION:
        raise UnsupportedVersion(f"blob of version {data[4]}, this program reads {VERSION}: update it")
    units: list[Unit] = []
    at = 5
    for _ in range(MAX_UNITS):
        number, payload, at = _read_unit(data, at)
        if number >= 0x80:
            continue
        units.append(Unit(_known(number, payload), payload))
        if number == UnitType.END:
            break
    else:
        raise CorruptStream(f"blob has more than {MAX_UNITS} units")
    if at != len(data):
        raise CorruptStream(f"{len(data) - at} bytes follow the end unit")
    return tuple(units)


def _read_unit(data: bytes, at: int) -> tuple[int, bytes, int]:
    """(type number, payload, position after the unit) with the CRC checked."""
    length, start = read_varint(data, at + 1)
    end = start + length
    if end + 4 > len(data):
        raise CorruptStream(f"the unit at byte {at} is cut short: the blob ends before it does")
    if google_crc32c.value(data[at:end]) != int.from_bytes(data[end : end + 4], "little"):
        raise CorruptStream(f"the unit at byte {at} is damaged (CRC): fetch the blob again")
    return data[at], data[start:end], end + 4


def _known(number: int, payload: bytes) -> UnitType:
    """The type of a unit whose payload is within that type's cap."""
    try:
        kind = UnitType(number)
    except ValueError:
        raise CorruptStream(f"unit type {number} is unknown to version {VERSION}") from None
    if len(payload) > CAPS[kind]:
        raise CorruptStream(f"{kind.name} of {len(payload)} bytes is over its cap")
    return kind
