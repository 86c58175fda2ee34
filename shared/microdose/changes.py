"""What a dose may do to one tensor of the student, in three forms. Every machine gets the very same weights.

A tensor is a matrix of `rows`, shape[0], by the rest; what has one value in a row (biases, gains) is one row.

    SCALE      values [rows]                     w := w * (1 + step * value of the row)
    LOW_RANK   left [rows, r], right [r, rest]   w := w + step * (left @ right)
    ADD        values of the tensor's shape      w := w + step * value

`left @ right` is a matrix of integers, exact in any order of summation; each other operation is rounded to
float32. Where a value, or the product, is 0, w keeps its very bytes. Scaling the rows of a convolution is a
gain on its outputs: one number per channel, and nothing to compute once it is merged.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum
from math import prod
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from microdose.base import TensorSlot
from microdose.errors import CorruptStream, DoseMismatch

Integers = NDArray[np.int32]
Weights = NDArray[np.float32]

MAX_RANK = 64
MAX_FACTOR = 2**15 - 1
"""Bounds of a factor: 64 products of two such integers sum to less than 2^53, exact in float64 too."""
STEPS = 256


class Form(IntEnum):
    """A form's number on the wire. The changes of one tensor are applied in this order."""

    SCALE = 1
    LOW_RANK = 2
    ADD = 3


@dataclass(frozen=True, slots=True, eq=False)
class Scale:
    """Row gains: values int32 [rows]."""

    slot: int
    step: float
    values: Integers


@dataclass(frozen=True, slots=True, eq=False)
class LowRank:
    """A product of factors: left int32 [rows, r], right int32 [r, rest], 1 <= r <= 64, |factor| < 2^15."""

    slot: int
    step: float
    left: Integers
    right: Integers


@dataclass(frozen=True, slots=True, eq=False)
class Add:
    """A difference: values int32 of the tensor's shape."""

    slot: int
    step: float
    values: Integers


Change: TypeAlias = Scale | LowRank | Add
"""`slot`: number of the tensor in the base. `step`: one of `step_of(0..255)`, or any float32 in (0, 1] where
it comes from an older dose."""

FORMS = {Scale: Form.SCALE, LowRank: Form.LOW_RANK, Add: Form.ADD}


def step_of(code: int) -> float:
    """(8 + code mod 8) * 2^(-4 - floor(code / 8)): exact in float32, from 0.94 down to 2^-32, 12 % apart."""
    return math.ldexp(8 + (code & 7), -4 - (code >> 3))


def code_of(step: float) -> int:
    """The code of the step nearest to this one, by ratio. For an encoder."""
    return min(range(STEPS), key=lambda code: abs(math.log(step_of(code) / step)))


def matrix_shape(slot: TensorSlot) -> tuple[int, int]:
    """(rows, values per row); rows of a single value are joined to one."""
    rows = slot.shape[0] if prod(slot.shape[1:]) > 1 else 1
    return rows, prod(slot.shape) // rows


def parts_of(change: Change) -> tuple[Integers, ...]:
    """The arrays of integers that a change consists of, in coding order."""
    return (change.left, change.right) if isinstance(change, LowRank) else (change.values,)


def check_change(change: Change, slot: TensorSlot) -> None:
    """Raise DoseMismatch for a change that does not fit its tensor, CorruptStream for bad factors."""
    shapes = [part.shape for part in parts_of(change)]
    rank = change.left.shape[-1] if isinstance(change, LowRank) else 0
    if shapes != list(part_shapes(FORMS[type(change)], rank, slot)):
        raise DoseMismatch(f"values {shapes} for a {FORMS[type(change)].name} of {slot.name}, {slot.shape}")
    if isinstance(change, LowRank):
        check_rank(rank, slot)
        if any(np.abs(part.astype(np.int64)).max(initial=0) > MAX_FACTOR for part in parts_of(change)):
            raise CorruptStream(f"a factor for {slot.name} is beyond {MAX_FACTOR}")


def check_rank(rank: int, slot: TensorSlot) -> None:
    """Raise CorruptStream for a rank that no useful factors have."""
    if not 1 <= rank <= min(MAX_RANK, *matrix_shape(slot)):
        raise CorruptStream(f"rank {rank} is out of range for {slot.name} of {slot.shape}")


def part_shapes(form: Form, rank: int, slot: TensorSlot) -> Sequence[tuple[int, ...]]:
    """The shapes of the arrays of a change."""
    rows, rest = matrix_shape(slot)
    if form is Form.ADD:
        return (slot.shape,)
    return ((rows,),) if form is Form.SCALE else ((rows, rank), (rank, rest))


def merge(weights: Weights, change: Change) -> None:
    """Apply a change, in place, to the matrix [rows, rest] of a tensor. Absurd ones may end in infinities."""
    step = np.float32(change.step)
    with np.errstate(over="ignore", invalid="ignore"):
        if isinstance(change, Scale):
            factors = np.float32(1) + step * change.values.astype(np.float32)
            np.multiply(weights, factors[:, None], out=weights, where=change.values[:, None] != 0)
        else:
            values = _difference(change, weights.shape)
            np.add(weights, step * values.astype(np.float32), out=weights, where=values != 0)


def _difference(change: LowRank | Add, shape: tuple[int, ...]) -> NDArray[np.int32] | NDArray[np.float64]:
    """The integers to be added, in units of the step."""
    if isinstance(change, Add):
        return change.values.reshape(shape)
    return change.left.astype(np.float64) @ change.right.astype(np.float64)
