"""A second decoder, written from docs/wire.md alone in plain Python: slow, and without any of our code."""

import math
import struct
from collections.abc import Iterator, Sequence
from typing import Any


def crc32c(data: bytes) -> int:
    """CRC-32C (Castagnoli), bit by bit."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


class Reader:
    """Takes integers off the front of bytes."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.at = 0

    def take(self, size: int) -> bytes:
        self.at += size
        return self.data[self.at - size : self.at]

    def varint(self) -> int:
        value = shift = 0
        while True:
            byte = self.take(1)[0]
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value


def units(blob: bytes) -> dict[int, bytes]:
    """Payload by unit type."""
    reader = Reader(blob)
    assert reader.take(5) == b"MDSE\x01"
    found: dict[int, bytes] = {}
    while 6 not in found:
        start = reader.at
        kind = reader.take(1)[0]
        payload = reader.take(reader.varint())
        body = blob[start : reader.at]
        assert struct.unpack("<I", reader.take(4)) == (crc32c(body),)
        found[kind] = payload
    assert reader.at == len(blob)
    return found


def slots(words: Sequence[int], tables: Sequence[Sequence[int]]) -> Iterator[int]:
    """The range decoder: one slot number per table (a row of frequencies)."""
    supply = iter(words)
    low, span = 0, 2**64 - 1
    point = next(supply, 0) << 32 | next(supply, 0)
    for row in tables:
        n = len(row)
        begins = [sum(row[:k]) * (2**24 - n) // 2**16 + k for k in range(n)] + [2**24]
        scale = span >> 24
        q = (point - low) % 2**64 // scale
        assert q < 2**24
        k = next(k for k in range(n) if begins[k] <= q < begins[k + 1])
        low = (low + scale * begins[k]) % 2**64
        span = scale * (begins[k + 1] - begins[k])
        if span < 2**32:
            low, span = (low << 32) % 2**64, span << 32
            point = (point << 32 | next(supply, 0)) % 2**64
        yield k


def symbols(payload: bytes, index: Sequence[int], tables: Any) -> list[int]:
    """The integers coded under tables[index[i]] (`tables`: offset and frequency as in the base's JSON)."""
    reader = Reader(payload)
    coded = [reader.varint() for _ in range(reader.varint())]
    far = iter([value // 2 if value % 2 == 0 else -(value + 1) // 2 for value in coded])
    words = [word for (word,) in struct.iter_unpack("<I", payload[reader.at :])]
    order = sorted(range(len(index)), key=lambda i: index[i])
    result = [0] * len(index)
    rows = [tables["frequency"][index[i]] for i in order]
    for i, row, slot in zip(order, rows, slots(words, rows), strict=True):
        result[i] = next(far) if slot == len(row) - 1 else tables["offset"][index[i]] + slot
    assert next(far, None) is None
    return result


def dose_values(blob: bytes, base: Any) -> list[tuple[int, float, list[int]]]:
    """(slot, step, values) of every tensor of a dose (`base`: the base's JSON)."""
    parts = units(blob)
    _, _, kind, count = struct.unpack("<8sIBH", parts[4][:15])
    assert len(parts[4]) == 15 + (8 if kind >= 128 else 0)
    reader = Reader(parts[5])
    heads = [(reader.varint(), struct.unpack("<f", reader.take(4))[0]) for _ in range(count)]
    table = reader.varint()
    coded_rows = reader.take(reader.varint())
    shapes = [base["tensors"][slot]["shape"] for slot, _ in heads]
    sizes = [base["tensors"][slot]["length"] // 4 for slot, _ in heads]
    rows = [1 if math.prod(shape[1:]) == 1 else shape[0] for shape in shapes]
    lengths = [size // n for size, n in zip(sizes, rows, strict=True) for _ in range(n)]
    number, index = 0, []
    steps = symbols(coded_rows, [table] * len(lengths), base["tables"]["dose"])
    for step, length in zip(steps, lengths, strict=True):
        number += step
        index += [number] * length
    values = iter(symbols(parts[5][reader.at :], index, base["tables"]["dose"]))
    return [
        (slot, step, [next(values) for _ in range(size)])
        for (slot, step), size in zip(heads, sizes, strict=True)
    ]
