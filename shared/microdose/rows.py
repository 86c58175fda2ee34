"""Coding of small integer matrices, each row under the table that suits it best.

    payload := row table varint · row bytes varint · row payload · value payload

The row payload holds the differences of successive table numbers, starting from 0, all under the row table;
the value payload the values. Both run over the rows of all matrices, one after another.
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from microdose import entropy
from microdose.errors import CorruptStream
from microdose.tables import TableSet
from microdose.varint import read_varint, write_varint

Matrix = NDArray[np.int32]
Shape = tuple[int, int]


def encode_rows(matrices: Sequence[Matrix], tables: TableSet) -> bytes:
    """Code int32 matrices; all-zero rows cost next to nothing if a table is narrow enough."""
    choice = np.concatenate([np.empty(0, np.uint16), *(_cheapest(matrix, tables) for matrix in matrices)])
    values = np.concatenate([np.empty(0, np.int32), *(matrix.ravel() for matrix in matrices)])
    steps = np.diff(choice.astype(np.int32), prepend=np.int32(0))
    row_table = int(np.argmin([entropy.bits(steps, k, tables).sum() for k in range(len(tables))]))
    rows = entropy.encode(steps, np.full(len(steps), row_table, np.uint16), tables)
    index = np.repeat(choice, _lengths([_shape(matrix) for matrix in matrices]))
    return write_varint(row_table) + write_varint(len(rows)) + rows + entropy.encode(values, index, tables)


def decode_rows(payload: bytes, shapes: Sequence[Shape], tables: TableSet) -> list[Matrix]:
    """The matrices of these shapes, or CorruptStream."""
    row_table, at = read_varint(payload, 0)
    size, at = read_varint(payload, at)
    if row_table >= len(tables) or at + size > len(payload):
        raise CorruptStream("row tables are out of range")
    lengths = _lengths(shapes)
    steps = entropy.decode(payload[at : at + size], np.full(len(lengths), row_table, np.uint16), tables)
    choice = np.cumsum(steps, dtype=np.int64)
    if np.any((choice < 0) | (choice >= len(tables))):
        raise CorruptStream("a row asks for a table that does not exist")
    values = entropy.decode(payload[at + size :], np.repeat(choice.astype(np.uint16), lengths), tables)
    ends = np.cumsum([rows * length for rows, length in shapes], dtype=np.intp)
    return [part.reshape(shape) for part, shape in zip(np.split(values, ends[:-1]), shapes, strict=False)]


def _cheapest(matrix: Matrix, tables: TableSet) -> NDArray[np.uint16]:
    """The table that codes each row in the fewest bits."""
    costs = [entropy.bits(matrix, k, tables).sum(axis=1) for k in range(len(tables))]
    return np.asarray(np.argmin(costs, axis=0), np.uint16)


def _shape(matrix: Matrix) -> Shape:
    return matrix.shape[0], matrix.shape[1]


def _lengths(shapes: Sequence[Shape]) -> NDArray[np.intp]:
    """The number of values in every row of every matrix."""
    rows, lengths = np.array(shapes, np.intp).reshape(-1, 2).T
    return np.repeat(lengths, rows)
