"""A second decoder, written from docs/wire.md alone in plain Python: slow, and without any of our code."""

import itertools
import math
import struct
from collections.abc import Sequence
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


class RangeDecoder:
    """Slot numbers, each by a table: a row of frequencies."""

    def __init__(self, words: Sequence[int]) -> None:
        self.supply = iter(words)
        self.low, self.span = 0, 2**64 - 1
        self.point = next(self.supply, 0) << 32 | next(self.supply, 0)

    def slot(self, row: Sequence[int]) -> int:
        n = len(row)
        begins = [sum(row[:k]) * (2**24 - n) // 2**16 + k for k in range(n)] + [2**24]
        scale = self.span >> 24
        q = (self.point - self.low) % 2**64 // scale
        assert q < 2**24
        k = next(k for k in range(n) if begins[k] <= q < begins[k + 1])
        self.low = (self.low + scale * begins[k]) % 2**64
        self.span = scale * (begins[k + 1] - begins[k])
        if self.span < 2**32:
            self.low, self.span = (self.low << 32) % 2**64, self.span << 32
            self.point = (self.point << 32 | next(self.supply, 0)) % 2**64
        return k


def symbols(payload: bytes, index: Sequence[int], tables: Any) -> list[int]:
    """The integers coded under tables[index[i]] (`tables`: offset and frequency as in the base's JSON)."""
    reader = Reader(payload)
    coded = [reader.varint() for _ in range(reader.varint())]
    far = iter([value // 2 if value % 2 == 0 else -(value + 1) // 2 for value in coded])
    words = [word for (word,) in struct.iter_unpack("<I", payload[reader.at :])]
    order = sorted(range(len(index)), key=lambda i: index[i])
    result = [0] * len(index)
    rows = [tables["frequency"][index[i]] for i in order]
    decoder = RangeDecoder(words)
    for i, row in zip(order, rows, strict=True):
        slot = decoder.slot(row)
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


def dose_changes(blob: bytes, base: Any) -> list[tuple[Any, ...]]:
    """(slot, form, step, values or both factors) of every change of a dose (`base`: the base's JSON)."""
    parts = units(blob)
    _, _, kind, count = struct.unpack("<8sIBH", parts[4][:15])
    assert kind % 128 in (2, 3, 4, 5)
    reader = Reader(parts[5])
    heads = []
    for _ in range(count):
        tensor = base["tensors"][slot := reader.varint()]
        form, code = reader.take(2)
        rank = reader.take(1)[0] if form == 2 else 0
        heads.append((slot, form, code, rank, tensor))
    supply, found = Vectors(parts[5][reader.at :]), list[tuple[Any, ...]]()
    for slot, form, code, rank, tensor in heads:
        step = (8 + code % 8) * 2.0 ** (-4 - code // 8)
        shape, size = tensor["shape"], tensor["length"] // 4
        rows = 1 if math.prod(shape[1:]) == 1 else shape[0]
        sizes = {1: [rows], 2: [rows * rank, rank * size // rows], 3: [size]}[form]
        if kind % 128 == 5 and form == 3 and math.prod(shape[1:2]) > 1:
            values = [by_channel(supply, (form, 0, tensor["kind"]), shape)]
        else:
            values = [supply.take(n, (form, part, tensor["kind"]), 6) for part, n in enumerate(sizes)]
        found.append((slot, form, step, *values))
    assert next(supply.far, None) is None
    return found


def by_channel(supply: "Vectors", context: Any, shape: Sequence[int]) -> list[int]:
    """A vector w[R][C][K], its rows in parts of equal density."""
    rows, channels, taps = shape[0], shape[1], math.prod(shape[2:])
    held, values = [0] * channels, list[int]()
    for r in range(rows):
        densities = [(64 * (n + 1) // (taps * r + 16)).bit_length() for n in held]
        row: dict[int, list[int]] = {}
        for density in sorted(set(densities)):
            there = [c for c in range(channels) if densities[c] == density]
            part = supply.take(len(there) * taps, context, density)
            row |= {c: part[k * taps : (k + 1) * taps] for k, c in enumerate(there)}
        for c in range(channels):
            held[c] += sum(value != 0 for value in row[c])
            values += row[c]
    return values


class Vectors:
    """Vectors under tables that learn."""

    def __init__(self, payload: bytes) -> None:
        reader = Reader(payload)
        coded = [reader.varint() for _ in range(reader.varint())]
        self.far = iter([value // 2 if value % 2 == 0 else -(value + 1) // 2 for value in coded])
        self.supply = RangeDecoder([word for (word,) in struct.iter_unpack("<I", payload[reader.at :])])
        self.counts: dict[Any, list[int]] = {}

    def take(self, length: int, context: Any, density: int) -> list[int]:
        """The next vector."""
        first = [max(1, 2 ** (5 - abs(k - 15))) for k in range(31)] + [1]
        first[15] = 32 << 6 - density
        counts = self.counts.setdefault((context, density), first)
        vector: list[int] = []
        sizes = itertools.chain([16, 16, 32, 64], itertools.repeat(128))
        while len(vector) < length:
            total = sum(counts)
            row = [1 + count * (2**16 - 32) // total for count in counts]
            row[15] += 2**16 - sum(row)
            block = [self.supply.slot(row) for _ in range(min(next(sizes), length - len(vector)))]
            for slot in block:
                counts[slot] += 24
            while sum(counts) > 2**15:
                counts[:] = [(count + 1) // 2 for count in counts]
            vector += [next(self.far) if slot == 31 else slot - 15 for slot in block]
        return vector
