"""Unsigned LEB128 integers of at most 32 bits in their shortest form, one at a time or by the array."""

import numpy as np
from numpy.typing import NDArray

from microdose.errors import CorruptStream

MAX_BYTES = 5


def write_varint(value: int) -> bytes:
    """7 bits per byte, low ones first, the high bit set on all but the last. ValueError outside 0..2^32-1."""
    if not 0 <= value < 2**32:
        raise ValueError(f"{value} is not an unsigned 32-bit integer")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """(value, position after it). Raises CorruptStream if cut short, over 32 bits or padded with zeros."""
    value = 0
    for i, byte in enumerate(data[at : at + MAX_BYTES]):
        value |= (byte & 0x7F) << 7 * i
        if byte < 0x80:
            if value >= 2**32 or (byte == 0 and i > 0):
                break
            return value, at + i + 1
    raise CorruptStream(f"no valid integer at byte {at}")


def write_varints(values: NDArray[np.uint32]) -> bytes:
    """The varints of an array, back to back."""
    return b"".join(write_varint(value) for value in values.tolist())


def read_varints(data: bytes, at: int, count: int) -> tuple[NDArray[np.uint32], int]:
    """(`count` values, position after them), as fast for a million hostile ones as numpy is."""
    window = np.frombuffer(data, np.uint8)[at : at + MAX_BYTES * count]
    ends = np.flatnonzero(window < 0x80)[:count] + 1
    if len(ends) < count:
        raise CorruptStream(f"{len(ends)} integers where {count} were announced, at byte {at}")
    if count == 0:
        return np.empty(0, np.uint32), at
    lengths = np.diff(ends, prepend=0)
    if lengths.max() > MAX_BYTES:
        raise CorruptStream(f"an integer of over {MAX_BYTES} bytes after byte {at}")
    starts = ends - lengths
    shifts = 7 * (np.arange(ends[-1]) - np.repeat(starts, lengths)).astype(np.uint64)
    values = np.add.reduceat((window[: ends[-1]] & 0x7F).astype(np.uint64) << shifts, starts)
    if (values >= 2**32).any() or ((lengths > 1) & (window[ends - 1] == 0)).any():
        raise CorruptStream(f"an integer over 32 bits or padded with zeros after byte {at}")
    return values.astype(np.uint32), at + int(ends[-1])


def zigzag(values: NDArray[np.int32]) -> NDArray[np.uint32]:
    """Signed to unsigned, small magnitudes first: 0, -1, 1, -2, 2 ... become 0, 1, 2, 3, 4 ..."""
    wide = values.astype(np.int64)
    return ((wide << 1) ^ (wide >> 63)).astype(np.uint32)


def unzigzag(values: NDArray[np.uint32]) -> NDArray[np.int32]:
    """The inverse of zigzag."""
    wide = values.astype(np.int64)
    return ((wide >> 1) ^ -(wide & 1)).astype(np.int32)
