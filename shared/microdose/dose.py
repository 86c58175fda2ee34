"""A dose: the specialised weights of one sequence, as quantised differences to the base's generic student.

    DOSE_HEADER  := base digest prefix 8 bytes · epoch u32 · kind u8 · tensor count u16 [· parent 8 bytes]
    DOSE_TENSORS := (slot varint · step f32) * count · values of all tensors as in rows.py

Rows run along the first axis of a tensor; a vector is one row. The tables are those of the base for doses.

A dose may build on another one, its parent, named by the first 8 bytes of its SHA-256: then its differences
are to the weights that the parent leads to. The high bit of `kind` says so: a program that knows no parents
refuses the dose as of an unknown kind, rather than paint with wrong weights.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from math import prod

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase, TensorSlot
from microdose.digest import digest_of, prefix
from microdose.errors import CorruptStream, DoseMismatch, UnsupportedVersion
from microdose.rows import Shape, decode_rows, encode_rows
from microdose.varint import read_varint, write_varint
from microdose.wire import Unit, UnitType, read_blob, write_blob

_HEADER = struct.Struct("<8sIBH")
_STEP = struct.Struct("<f")
_BUILDS_ON = 0x80
_PARENT_SIZE = 8

MAX_CHAIN = 8
"""The most doses that may build on one another; each costs a client a fetch before it can show anything."""


class DoseKind(StrEnum):
    """The rung of the ladder that a dose stands on."""

    NONE = "none"
    FULL = "full"


KINDS = (DoseKind.NONE, DoseKind.FULL)
"""A kind's place here is its number on the wire: only ever append."""


@dataclass(frozen=True, slots=True, eq=False)
class DoseTensor:
    """step * values, to be added to tensor number `slot` of the base.

    step: in (0, 1], rounded to float32 when packed. values: int32 of the tensor's shape.
    """

    slot: int
    step: float
    values: NDArray[np.int32]


@dataclass(frozen=True, slots=True, eq=False)
class Dose:
    """Changes to some tensors of the student; a tensor that is not listed stays as it is.

    parent: the first 8 bytes of the SHA-256 of the dose that this one builds on, empty if it builds on none.
    """

    base_prefix: bytes
    epoch: int
    kind: DoseKind
    tensors: tuple[DoseTensor, ...]
    parent: bytes = b""


def pack_dose(dose: Dose, base: LoadedBase) -> bytes:
    """The blob of a dose. Raises DoseMismatch where the dose does not fit the base, CorruptStream for a step
    or an epoch out of range.
    """
    _check(dose, base)
    kind = KINDS.index(dose.kind) | (_BUILDS_ON if dose.parent else 0)
    header = _HEADER.pack(dose.base_prefix, dose.epoch, kind, len(dose.tensors)) + dose.parent
    heads = [write_varint(tensor.slot) + _STEP.pack(tensor.step) for tensor in dose.tensors]
    matrices = [each.values.reshape(_row_shape(_slot(base, each.slot))) for each in dose.tensors]
    tensors = b"".join(heads) + encode_rows(matrices, base.document.tables.dose)
    return write_blob((Unit(UnitType.DOSE_HEADER, header), Unit(UnitType.DOSE_TENSORS, tensors)))


def parse_dose(data: bytes, base: LoadedBase) -> Dose:
    """The dose in a blob. Raises CorruptStream, UnsupportedVersion, or DoseMismatch (another base)."""
    units = read_blob(data)
    if [unit.type for unit in units] != [UnitType.DOSE_HEADER, UnitType.DOSE_TENSORS, UnitType.END]:
        raise CorruptStream("not a dose: it must hold a dose header and dose tensors, in this order")
    base_prefix, epoch, kind, count, parent = _parse_header(units[0].payload)
    _check_base(base_prefix, base)
    return Dose(base_prefix, epoch, kind, _parse_tensors(units[1].payload, count, base), parent)


def dosed_student(base: LoadedBase, doses: Sequence[bytes]) -> bytes:
    """The student graph under a chain of dose blobs, each the parent of the next; none: the generic student.

    Raises DoseMismatch for doses that do not build on one another in this order, and as `parse_dose`.
    """
    if len(doses) > MAX_CHAIN:
        raise CorruptStream(f"{len(doses)} doses build on one another; at most {MAX_CHAIN} may")
    student, parent = base.student, b""
    for data in doses:
        dose = parse_dose(data, base)
        if dose.parent != parent:
            raise DoseMismatch(
                f"dose of epoch {dose.epoch} builds on {_called(dose.parent)}, not on {_called(parent)}: "
                "take the chain that the manifest names"
            )
        student, parent = apply_dose(student, base, dose), prefix(digest_of(data))
    return student


def _called(parent: bytes) -> str:
    return f"dose {parent.hex()}" if parent else "no other dose"


def _parse_header(payload: bytes) -> tuple[bytes, int, DoseKind, int, bytes]:
    """(base prefix, epoch, kind, tensor count, parent)."""
    if len(payload) < _HEADER.size:
        raise CorruptStream(f"dose header of {len(payload)} bytes instead of {_HEADER.size}")
    base_prefix, epoch, number, count = _HEADER.unpack_from(payload)
    kind = number & ~_BUILDS_ON
    if kind >= len(KINDS):
        raise UnsupportedVersion(f"doses of kind {kind} are unknown to this program: update it")
    size = _HEADER.size + (_PARENT_SIZE if number & _BUILDS_ON else 0)
    if len(payload) != size:
        raise CorruptStream(f"dose header of {len(payload)} bytes instead of {size}")
    return base_prefix, epoch, KINDS[kind], count, payload[_HEADER.size :]


def apply_dose(student: bytes, base: LoadedBase, dose: Dose) -> bytes:
    """`student` with float32(w + float32(step) * value) written over every dosed weight w.

    `student` is the base's, or what the parent made of it. Weights with value 0 keep their very bytes.
    Raises DoseMismatch for a dose or a graph of another base.
    """
    _check(dose, base)
    graph = bytearray(student)
    for tensor in dose.tensors:
        slot = _slot(base, tensor.slot)
        if slot.offset + slot.length > len(graph):
            raise DoseMismatch(f"tensor {slot.name} ends beyond the student graph of {len(graph)} bytes")
        weights = np.frombuffer(graph, "<f4", prod(slot.shape), slot.offset)
        values = tensor.values.ravel()
        change = np.float32(tensor.step) * values.astype(np.float32)
        np.add(weights, change, out=weights, where=values != 0)
    return bytes(graph)


def _parse_tensors(payload: bytes, count: int, base: LoadedBase) -> tuple[DoseTensor, ...]:
    heads, at = _parse_heads(payload, count)
    slots = [_slot(base, number) for number, _ in heads]
    _check_distinct([number for number, _ in heads])
    matrices = decode_rows(payload[at:], [_row_shape(slot) for slot in slots], base.document.tables.dose)
    parts = zip(heads, slots, matrices, strict=True)
    return tuple(
        DoseTensor(number, step, matrix.reshape(slot.shape)) for (number, step), slot, matrix in parts
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
        _check_step(step)
        heads.append((number, step))
        at += _STEP.size
    return heads, at


def _row_shape(slot: TensorSlot) -> Shape:
    """(rows, values per row); rows of a single value are joined to one."""
    rows = slot.shape[0] if prod(slot.shape[1:]) > 1 else 1
    return rows, prod(slot.shape) // rows


def _slot(base: LoadedBase, number: int) -> TensorSlot:
    if number >= len(base.document.tensors):
        raise DoseMismatch(f"dose changes tensor {number}, the base has {len(base.document.tensors)}")
    return base.document.tensors[number]


def _check(dose: Dose, base: LoadedBase) -> None:
    """Everything that a parsed dose is known to fulfil."""
    _check_base(dose.base_prefix, base)
    _check_distinct([tensor.slot for tensor in dose.tensors])
    if not 0 <= dose.epoch < 2**32:
        raise CorruptStream(f"epoch {dose.epoch} is not an unsigned 32-bit integer")
    if len(dose.parent) not in (0, _PARENT_SIZE):
        raise CorruptStream(f"the parent of a dose is named by {len(dose.parent)} bytes, not {_PARENT_SIZE}")
    for tensor in dose.tensors:
        _check_step(float(np.float32(tensor.step)))
        slot = _slot(base, tensor.slot)
        if tensor.values.shape != slot.shape:
            raise DoseMismatch(f"values {tensor.values.shape} for tensor {slot.name} of {slot.shape}")


def _check_base(base_prefix: bytes, base: LoadedBase) -> None:
    if base_prefix != base.prefix:
        raise DoseMismatch(f"dose made for base {base_prefix.hex()}, this one is {base.prefix.hex()}")


def _check_distinct(numbers: list[int]) -> None:
    if len(set(numbers)) != len(numbers):
        raise CorruptStream("dose names a tensor twice")


def _check_step(step: float) -> None:
    if not 0.0 < step <= 1.0:  # false for a NaN as well
        raise CorruptStream(f"step {step} of a dose tensor is outside (0, 1]")
