"""Entropy coding of integers, each under its own table, with a range coder (constriction's queue coder).

    payload := n_escapes varint · (zigzag value) varint * n_escapes · range coder words u32 LE *

Symbols are coded grouped by table (all of table 0 in their order, then table 1 ...): one call per table is
what makes it fast. A value outside its table is coded as the table's escape slot, and itself as a varint, in
coding order.

Why it is exact everywhere: in a table with n slots and cumulative frequencies F, the coder begins slot k at
floor(F[k] * (2^24 - n) / 2^16) + k of 2^24; it computes this in binary64, exact for integers of this size.
"""

from functools import lru_cache
from typing import NamedTuple

import constriction
import numpy as np
from numpy.typing import NDArray

from microdose.errors import CorruptStream
from microdose.tables import TableSet
from microdose.varint import read_varint, read_varints, unzigzag, write_varint, write_varints, zigzag

Index = NDArray[np.uint8] | NDArray[np.uint16]


class _Prepared(NamedTuple):
    """Tables in the forms that coding needs: of each, first symbol, escape slot and model."""

    offsets: NDArray[np.int32]
    escapes: NDArray[np.int32]
    models: tuple[object, ...]


def encode(symbols: NDArray[np.int32], index: Index, tables: TableSet) -> bytes:
    """Code symbols[i] under table index[i]; both have shape (n,). Any int32 can be coded.

    Raises CorruptStream if an index names no table or the shapes differ.
    """
    order, counts = _groups(index, tables)
    if symbols.shape != index.shape:
        raise CorruptStream(f"{symbols.shape} symbols cannot be coded under {index.shape} indexes")
    prepared = _prepare(tables)
    values = symbols[order]
    slots = values.astype(np.int64) - prepared.offsets[index[order]]
    escapes = prepared.escapes[index[order]]
    escaped = (slots < 0) | (slots >= escapes)
    slots = np.where(escaped, escapes, slots).astype(np.int32)
    coder = constriction.stream.queue.RangeEncoder()
    ends = np.cumsum(counts)
    for k in np.flatnonzero(counts):
        coder.encode(slots[ends[k] - counts[k] : ends[k]], prepared.models[k])
    far = zigzag(values[escaped])
    words: NDArray[np.uint32] = coder.get_compressed()
    return write_varint(len(far)) + write_varints(far) + words.astype("<u4").tobytes()


def decode(payload: bytes, index: Index, tables: TableSet) -> NDArray[np.int32]:
    """The symbols, int32 of the shape (n,) of `index`. Time and memory are bounded by n and the payload.

    Raises CorruptStream where the payload cannot be what `encode` made. It does not notice every change: what
    guards a payload is the CRC around it.
    """
    order, counts = _groups(index, tables)
    n_escapes, at = read_varint(payload, 0)
    if n_escapes > len(index):
        raise CorruptStream(f"{n_escapes} escapes for {len(index)} symbols")
    far, at = read_varints(payload, at, n_escapes)
    prepared = _prepare(tables)
    values, escaped = _decode_groups(payload[at:], counts, prepared)
    if len(escaped) != n_escapes:
        raise CorruptStream(f"{len(escaped)} symbols escape their table, {n_escapes} values are given")
    values[escaped] = unzigzag(far)
    symbols = np.empty_like(values)
    symbols[order] = values
    return symbols


@lru_cache(maxsize=16)
def _prepare(tables: TableSet) -> _Prepared:
    escapes = [len(row) - 1 for row in tables.frequency]
    model = constriction.stream.model.Categorical  # perfect=False is the rounding described above
    models = tuple(model(np.array(row, np.float64), perfect=False) for row in tables.frequency)
    return _Prepared(np.array(tables.offset, np.int32), np.array(escapes, np.int32), models)


def _groups(index: Index, tables: TableSet) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
    """(coding order of the symbols, how many of them each table codes)."""
    counts = np.bincount(index, minlength=len(tables))
    if len(counts) > len(tables):
        raise CorruptStream(f"table {len(counts) - 1} is asked for, there are {len(tables)}")
    return np.argsort(index, kind="stable"), counts


def _decode_groups(
    words: bytes, counts: NDArray[np.intp], prepared: _Prepared
) -> tuple[NDArray[np.int32], NDArray[np.intp]]:
    """(the value of every symbol in coding order, which of them are not values but escapes)."""
    if len(words) % 4:
        raise CorruptStream(f"range coder data of {len(words)} bytes is not a whole number of words")
    values = np.empty(int(counts.sum()), np.int32)
    escaped = np.empty(len(values), np.bool_)
    coder = constriction.stream.queue.RangeDecoder(np.frombuffer(words, "<u4").astype(np.uint32))
    end = 0
    try:
        for k in np.flatnonzero(counts):
            start, end = end, end + int(counts[k])
            slots = coder.decode(prepared.models[k], end - start)
            np.equal(slots, prepared.escapes[k], out=escaped[start:end])
            np.add(slots, prepared.offsets[k], out=values[start:end])
    except AssertionError:  # how constriction reports words that no encoder can have written
        raise CorruptStream(f"range coder data of {len(words)} bytes is not valid for its tables") from None
    if not coder.maybe_exhausted():
        raise CorruptStream("range coder data goes on after the last symbol")
    return values, np.flatnonzero(escaped)
