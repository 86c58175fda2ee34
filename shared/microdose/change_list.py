"""The list of changes in a dose: heads, which say what is changed and how, then all values together.

    changes := (slot varint · form u8 · step u8 [· rank u8, of a LOW_RANK]) * count · values as in adaptive.py

Heads are in the order of slots, those of one slot in the order of forms. Values of one form, of one side of a
product and of one kind of tensor learn together: they are one context.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import prod

from microdose import adaptive
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


def pack_changes(changes: Sequence[Change], base: LoadedBase) -> bytes:
    """The coded list. Raises CorruptStream for changes that are not in order."""
    _check_order([(change.slot, FORMS[type(change)]) for change in changes])
    values, contexts = [], []
    for change in changes:
        for number, part in enumerate(parts_of(change)):
            values.append(part.ravel())
            contexts.append(_context(FORMS[type(change)], number, base.slot(change.slot)))
    return b"".join(map(_pack_head, changes)) + adaptive.encode(values, contexts)


def parse_changes(payload: bytes, count: int, base: LoadedBase) -> tuple[Change, ...]:
    """The changes of a coded list of `count`. Raises CorruptStream or DoseMismatch; allocates no more than
    the tensors of the base have values.
    """
    heads, at = _parse_heads(payload, count, base)
    runs = [
        adaptive.Run(_context(head.form, part, head.slot), prod(shape))
        for head in heads
        for part, shape in enumerate(head.shapes)
    ]
    values = iter(adaptive.decode(payload[at:], runs))
    changes = tuple(head.change(values) for head in heads)
    for change in changes:
        check_change(change, base.slot(change.slot))
    return changes


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

    def change(self, parts: Iterator[adaptive.Values]) -> Change:
        """The change, with as many of the vectors as it needs."""
        arrays = [next(parts).reshape(shape) for shape in self.shapes]
        if self.form is Form.LOW_RANK:
            return LowRank(self.number, self.step, *arrays)
        return (Scale if self.form is Form.SCALE else Add)(self.number, self.step, *arrays)


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


def _context(form: Form, part: int, slot: TensorSlot) -> int:
    return (2 * form + part) * len(_KINDS) + _KINDS.index(slot.kind)


def _check_order(places: Sequence[tuple[int, Form]]) -> None:
    if any(one >= other for one, other in pairwise(places)):
        raise CorruptStream("changes must be listed by growing slot and form")
