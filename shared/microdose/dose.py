"""A dose: the specialised weights of one sequence, as quantised differences to the base's generic student.

    DOSE_HEADER  := base digest prefix 8 bytes · epoch u32 · kind u8 · change count u16 [· parent 8 bytes]
    DOSE_TENSORS := changes as in change_list.py

Doses of wire kinds 0, 1 and 4 are older, and only read: the tensors of the first two are coded as in
legacy.py, the changes of the last without regard to channels.

A dose may build on another one, its parent, named by the first 8 bytes of its SHA-256: then its differences
are to the weights that the parent leads to. The high bit of `kind` says so: a program that knows no parents
refuses the dose as of an unknown kind, rather than paint with wrong weights.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np

from microdose.base import LoadedBase
from microdose.change_list import pack_changes, parse_changes
from microdose.changes import Change, check_change, matrix_shape, merge
from microdose.digest import digest_of, prefix
from microdose.errors import CorruptStream, DoseMismatch, UnsupportedVersion
from microdose.legacy import parse_tensors
from microdose.wire import Unit, UnitType, read_blob, write_blob

_HEADER = struct.Struct("<8sIBH")
_BUILDS_ON = 0x80
_PARENT_SIZE = 8

MAX_CHAIN = 8
"""The most doses that may build on one another; each costs a client a fetch before it can show anything."""


class DoseKind(StrEnum):
    """The rung of the ladder that a dose stands on. Clients apply all in one way; it is a name for people.

    gains: biases, channel gains and depthwise kernels, which is what a vector v would decide, and a gain for
    each output of the other convolutions. v itself is not sent: it only means something to the networks that
    fold it into kernels and gains, which a client does not have. What they give is thousands of numbers
    instead of hundreds.
    low-rank: that, and a product of two narrow matrices for each convolution.
    full: gains, and a difference to every weight.
    """

    NONE = "none"
    GAINS = "gains"
    LOW_RANK = "low-rank"
    FULL = "full"


WIRE_KINDS = (DoseKind.NONE, DoseKind.FULL, DoseKind.GAINS, DoseKind.LOW_RANK, DoseKind.FULL, DoseKind.FULL)
"""The kind that each number on the wire stands for: only ever append."""
_FIRST_WITH_CHANGES, _FIRST_BY_CHANNEL = 2, 5
_WRITTEN = {kind: number for number, kind in enumerate(WIRE_KINDS)}
"""The newest number of each kind."""


@dataclass(frozen=True, slots=True, eq=False)
class Dose:
    """Changes to some tensors of the student; a tensor that is not listed stays as it is.

    parent: the first 8 bytes of the SHA-256 of the dose that this one builds on, empty if it builds on none.
    """

    base_prefix: bytes
    epoch: int
    kind: DoseKind
    changes: tuple[Change, ...]
    parent: bytes = b""


def pack_dose(dose: Dose, base: LoadedBase) -> bytes:
    """The blob of a dose. Its steps must be such as `step_of` gives, its changes in their order.

    Raises DoseMismatch where the dose does not fit the base, CorruptStream for what no dose may hold.
    """
    _check(dose, base)
    if dose.kind is DoseKind.NONE:
        raise CorruptStream("a dose of kind none has no bytes: send no dose")
    number = _WRITTEN[dose.kind]
    kind = number | (_BUILDS_ON if dose.parent else 0)
    header = _HEADER.pack(dose.base_prefix, dose.epoch, kind, len(dose.changes)) + dose.parent
    tensors = pack_changes(dose.changes, base, by_channel=number >= _FIRST_BY_CHANNEL)
    return write_blob((Unit(UnitType.DOSE_HEADER, header), Unit(UnitType.DOSE_TENSORS, tensors)))


def parse_dose(data: bytes, base: LoadedBase) -> Dose:
    """The dose in a blob. Raises CorruptStream, UnsupportedVersion, or DoseMismatch (another base)."""
    units = read_blob(data)
    if [unit.type for unit in units] != [UnitType.DOSE_HEADER, UnitType.DOSE_TENSORS, UnitType.END]:
        raise CorruptStream("not a dose: it must hold a dose header and dose tensors, in this order")
    base_prefix, epoch, number, count, parent = _parse_header(units[0].payload)
    _check_base(base_prefix, base)
    changes: tuple[Change, ...]
    if number < _FIRST_WITH_CHANGES:
        changes = parse_tensors(units[1].payload, count, base)
    else:
        changes = parse_changes(units[1].payload, count, base, by_channel=number >= _FIRST_BY_CHANNEL)
    return Dose(base_prefix, epoch, WIRE_KINDS[number], changes, parent)


def apply_dose(student: bytes, base: LoadedBase, dose: Dose) -> bytes:
    """`student` with the changes merged into its weights.

    `student` is the base's, or what the parent made of it. Raises DoseMismatch for a dose or a graph of
    another base.
    """
    _check(dose, base)
    graph = bytearray(student)
    for change in dose.changes:
        slot = base.slot(change.slot)
        if slot.offset + slot.length > len(graph):
            raise DoseMismatch(f"tensor {slot.name} ends beyond the student graph of {len(graph)} bytes")
        weights = np.frombuffer(graph, "<f4", slot.length // 4, slot.offset)
        merge(weights.reshape(matrix_shape(slot)), change)
    return bytes(graph)


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


def _parse_header(payload: bytes) -> tuple[bytes, int, int, int, bytes]:
    """(base prefix, epoch, kind number, change count, parent)."""
    if len(payload) < _HEADER.size:
        raise CorruptStream(f"dose header of {len(payload)} bytes instead of {_HEADER.size}")
    base_prefix, epoch, number, count = _HEADER.unpack_from(payload)
    kind = number & ~_BUILDS_ON
    if kind >= len(WIRE_KINDS):
        raise UnsupportedVersion(f"doses of kind {kind} are unknown to this program: update it")
    size = _HEADER.size + (_PARENT_SIZE if number & _BUILDS_ON else 0)
    if len(payload) != size:
        raise CorruptStream(f"dose header of {len(payload)} bytes instead of {size}")
    return base_prefix, epoch, kind, count, payload[_HEADER.size :]


def _check(dose: Dose, base: LoadedBase) -> None:
    """Everything that a parsed dose is known to fulfil."""
    _check_base(dose.base_prefix, base)
    if not 0 <= dose.epoch < 2**32:
        raise CorruptStream(f"epoch {dose.epoch} is not an unsigned 32-bit integer")
    if len(dose.parent) not in (0, _PARENT_SIZE):
        raise CorruptStream(f"the parent of a dose is named by {len(dose.parent)} bytes, not {_PARENT_SIZE}")
    for change in dose.changes:
        check_change(change, base.slot(change.slot))


def _check_base(base_prefix: bytes, base: LoadedBase) -> None:
    if base_prefix != base.prefix:
        raise DoseMismatch(f"dose made for base {base_prefix.hex()}, this one is {base.prefix.hex()}")
