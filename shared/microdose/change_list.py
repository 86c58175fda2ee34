"""The list of changes in a dose: heads, which say what is changed and how, then all values together.

    changes := (slot varint · form u8 · step u8 [· rank u8, of a LOW_RANK]) * count · values as in adaptive.py

Heads are in the order of slots, those of one slot in the order of forms. Values of one form, of one side of a
product and of one kind of tensor learn together. Differences of a convolution's weights, which are mostly
zeros, lie where input channels matter; so they come row by row, and learn together with those of channels
that have held about as many values so far (`by_channel`; older lists are without):

    row r of w[R][C][taps]: density of a channel = bit length of floor(64 (n + 1) / (taps r + 16)), n of whose
    values in the rows before are not 0; for each density, from the lowest: the values of its channels, a run
"""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

import numpy as np

from microdose.adaptive import Coder, Context, Decoder, Encoder, Values
from microdose.base import LoadedBase, TensorSlot
from microdose.changes import (
    FORMS,
    Add,
    Change,
    Form,
    LowRank,
    Scale,
    check_change,
    check_rank,
    code_of,
    part_shapes,
    parts_of,
    step_of,
)
from microdose.errors import CorruptStream
from microdose.varint import read_varint, write_varint

_KINDS = ("weight", "bias", "gain")


def pack_changes(changes: Sequence[Change], base: LoadedBase, *, by_channel: bool) -> bytes:
    """The coded list. Raises CorruptStream for changes that are not in order."""
    _check_order([(change.slot, FORMS[type(change)]) for change in changes])
    coder = Encoder()
    for change in changes:
        for number, part in enumerate(parts_of(change)):
            _code(coder, FORMS[type(change)], number, base.slot(change.slot), part, by_channel)
    return b"".join(map(_pack_head, changes)) + coder.payload()


def parse_changes(payload: bytes, count: int, base: LoadedBase, *, by_channel: bool) -> tuple[Change, ...]:
    """The changes of a coded list of `count`. Raises CorruptStream or DoseMismatch; allocates no more than
    the tensors of the base have values.
    """
    heads, at = _parse_heads(payload, count, base)
    coder = Decoder(payload[at:], sum(prod(shape) for head in heads for shape in head.shapes))
    changes = []
    for head in heads:
        parts = [
            _code(coder, head.form, number, head.slot, np.zeros(shape, np.int32), by_channel)
            for number, shape in enumerate(head.shapes)
        ]
        changes.append(head.change(parts))
    coder.end()
    for change in changes:
        check_change(change, base.slot(change.slot))
    return tuple(changes)


def _code(
    coder: Coder, form: Form, number: int, slot: TensorSlot, values: Values, by_channel: bool
) -> Values:
    """One array of a change, in either direction."""
    context = (2 * form + number) * len(_KINDS) + _KINDS.index(slot.kind)
    if by_channel and form is Form.ADD and prod(values.shape[1:2]) > 1:
        return _code_channels(coder, context, values)
    return coder.code(Context(context), values.ravel()).reshape(values.shape)


def _code_channels(coder: Coder, context: int, values: Values) -> Values:
    """Differences of the weights [R, C, ...] of a convolution."""
    rows = values.reshape(*values.shape[:2], -1)
    found, taps = np.empty_like(rows), rows.shape[2]
    held = np.zeros(rows.shape[1], np.int64)
    for r, row in enumerate(rows):
        _, density = np.frexp(64 * (held + 1) // (taps * r + 16))  # its exponent is the bit length
        for each in np.unique(density):
            there = density == each
            found[r, there] = coder.code(Context(context, int(each)), row[there].ravel()).reshape(-1, taps)
        held += np.count_nonzero(found[r], axis=1)
    return found.reshape(values.shape)


def _pack_head(change: Change) -> bytes:
    rank = bytes([change.left.shape[1]]) if isinstance(change, LowRank) else b""
    return write_varint(change.slot) + bytes([FORMS[type(change)], code_of(change.step)]) + rank


@dataclass(frozen=True, slots=True)
class _Head:
    """What is known of a change before its values are."""

    number: int
    form: Form
    step: float
    rank: int
    slot: TensorSlot

    @property
    def shapes(self) -> Sequence[tuple[int, ...]]:
        return part_shapes(self.form, self.rank, self.slot)

    def change(self, parts: Sequence[Values]) -> Change:
        """The change, with the arrays that it consists of."""
        if self.form is Form.LOW_RANK:
            return LowRank(self.number, self.step, *parts)
        return (Scale if self.form is Form.SCALE else Add)(self.number, self.step, *parts)


def _parse_heads(payload: bytes, count: int, base: LoadedBase) -> tuple[list[_Head], int]:
    """The heads, and the position after them. They are in order, so that their number is bounded."""
    heads: list[_Head] = []
    at = 0
    for _ in range(count):
        head, at = _parse_head(payload, at, base)
        heads.append(head)
        _check_order([(head.number, head.form) for head in heads[-2:]])
    return heads, at


def _parse_head(payload: bytes, at: int, base: LoadedBase) -> tuple[_Head, int]:
    number, at = read_varint(payload, at)
    slot = base.slot(number)
    form = _form(payload, at)
    end = at + (3 if form is Form.LOW_RANK else 2)
    if end > len(payload):
        raise CorruptStream("the list of changes is cut short")
    rank = payload[at + 2] if form is Form.LOW_RANK else 0
    if form is Form.LOW_RANK:
        check_rank(rank, slot)
    return _Head(number, form, step_of(payload[at + 1]), rank, slot), end


def _form(payload: bytes, at: int) -> Form:
    try:
        return Form(payload[at])
    except (IndexError, ValueError):
        raise CorruptStream(f"no known form of change at byte {at}") from None


def _check_order(places: Sequence[tuple[int, Form]]) -> None:
    if any(one >= other for one, other in pairwise(places)):
        raise CorruptStream("changes must be listed by growing slot and form")
