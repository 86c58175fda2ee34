"""Doses of wire kinds 0 and 1, which nobody writes any more: they are read for ever.

    DOSE_TENSORS := (slot varint · step f32) * count · row table varint · row bytes varint · rows · values

Each tensor is an ADD. `rows` holds, over the rows of all tensors, the difference of a row's table to that of
the row before, all under the row table; `values` the values, each under its row's table. The tables are those
of the base for doses.
"""

import struct
from math import prod

import numpy as np
from numpy.typing import NDArray

from microdose import entropy
from microdose.base import LoadedBase
from microdose.changes import Add, matrix_shape
from microdose.errors import CorruptStream
from microdose.varint import read_varint

_STEP = struct.Struct("<f")


def parse_tensors(payload: bytes, count: int, base: LoadedBase) -> tuple[Add, ...]:
    """The changes in such a payload. Raises CorruptStream or DoseMismatch."""
    heads, at = _parse_heads(payload, count)
    slots = [base.slot(number) for number, _ in heads]
    if len({number for number, _ in heads}) != count:
        raise CorruptStream("dose names a tensor twice")
    shapes = np.array([matrix_shape(slot) for slot in slots], np.intp).reshape(-1, 2)
    values = _decode_rows(payload[at:], np.repeat(shapes[:, 1], shapes[:, 0]), base)
    parts = np.split(values, np.cumsum([prod(slot.shape) for slot in slots], dtype=np.intp)[:-1])
    return tuple(
        Add(number, step, part.reshape(slot.shape))
        for (number, step), slot, part in zip(heads, slots, parts, strict=False)
    )


def _parse_heads(payload: bytes, count: int) -> tuple[list[tuple[int, float]], int]:
    """([(slot number, step)], position after them)."""
    heads = []
    at = 0
    for _ in range(count):
        number, at = read_varint(payload, at)
        if at + _STEP.size > len(payload):
            raise CorruptStream("the list of dose tensors is cut short")
        (step,) = _STEP.unpack_from(payload, at)
        if not 0.0 < step <= 1.0:  # false for a NaN as well
            raise CorruptStream(f"step {step} of a dose tensor is outside (0, 1]")
        heads.append((number, step))
        at += _STEP.size
    return heads, at


def _decode_rows(payload: bytes, lengths: NDArray[np.intp], base: LoadedBase) -> NDArray[np.int32]:
    """The values of rows of these lengths."""
    tables = base.document.tables.dose
    row_table, at = read_varint(payload, 0)
    size, at = read_varint(payload, at)
    if row_table >= len(tables) or at + size > len(payload):
        raise CorruptStream("row tables are out of range")
    steps = entropy.decode(payload[at : at + size], np.full(len(lengths), row_table, np.uint16), tables)
    choice = np.cumsum(steps, dtype=np.int64)
    if np.any((choice < 0) | (choice >= len(tables))):
        raise CorruptStream("a row asks for a table that does not exist")
    return entropy.decode(payload[at + size :], np.repeat(choice.astype(np.uint16), lengths), tables)
