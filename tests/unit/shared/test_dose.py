from dataclasses import replace

import numpy as np
import pytest

from microdose.digest import digest_of, prefix
from microdose.dose import (
    MAX_CHAIN,
    Dose,
    DoseKind,
    DoseTensor,
    apply_dose,
    dosed_student,
    pack_dose,
    parse_dose,
)
from microdose.errors import CorruptStream, DoseMismatch, UnsupportedVersion
from microdose.wire import Unit, UnitType, read_blob, write_blob
from tests.tiny_base import tiny_base, tiny_dose

BASE = tiny_base()
SLOTS = BASE.document.tensors


def dose_of(*tensors: DoseTensor) -> Dose:
    return Dose(BASE.prefix, 2, DoseKind.FULL, tensors)


def random_tensor(number: int, spread: float = 1.0, seed: int = 0) -> DoseTensor:
    values = np.random.default_rng(seed).normal(0, spread, SLOTS[number].shape)
    return DoseTensor(number, 2.0**-8, np.rint(values).astype(np.int32))


def assert_same(one: Dose, other: Dose) -> None:
    assert (one.base_prefix, one.epoch, one.kind) == (other.base_prefix, other.epoch, other.kind)
    assert one.parent == other.parent
    assert [(each.slot, each.step) for each in one.tensors] == [
        (each.slot, each.step) for each in other.tensors
    ]
    for left, right in zip(one.tensors, other.tensors, strict=True):
        assert np.array_equal(left.values, right.values)


def test_round_trip_in_any_order_of_tensors() -> None:
    dose = dose_of(random_tensor(2), random_tensor(0, 40.0), random_tensor(3, 0.1))
    assert_same(parse_dose(pack_dose(dose, BASE), BASE), dose)


def test_values_far_outside_the_tables_survive() -> None:
    tensor = random_tensor(1)
    tensor.values[:4] = [2**30, -(2**30), 2**31 - 1, -(2**31)]
    assert_same(parse_dose(pack_dose(dose_of(tensor), BASE), BASE), dose_of(tensor))


def test_an_empty_dose_is_possible() -> None:
    dose = Dose(BASE.prefix, 0, DoseKind.NONE, ())
    assert_same(parse_dose(pack_dose(dose, BASE), BASE), dose)
    assert apply_dose(BASE.student, BASE, dose) == BASE.student


def test_rows_of_zeros_are_nearly_free() -> None:
    zeros = [DoseTensor(n, 0.5, np.zeros(slot.shape, np.int32)) for n, slot in enumerate(SLOTS)]
    assert sum(each.values.size for each in zeros) > 7000
    assert len(pack_dose(dose_of(*zeros), BASE)) < 100


def test_applying_adds_step_times_value_where_it_says() -> None:
    tensor = random_tensor(0)
    patched = apply_dose(BASE.student, BASE, dose_of(tensor))
    slot = SLOTS[0]
    before = np.frombuffer(BASE.student, "<f4", tensor.values.size, slot.offset)
    after = np.frombuffer(patched, "<f4", tensor.values.size, slot.offset)
    wanted = before + np.float32(tensor.step) * tensor.values.ravel().astype(np.float32)
    assert after.tobytes() == wanted.tobytes()
    assert patched[: slot.offset] == BASE.student[: slot.offset]
    assert patched[slot.offset + slot.length :] == BASE.student[slot.offset + slot.length :]


def test_zeros_change_no_byte_even_of_a_negative_zero() -> None:
    slot = SLOTS[1]
    student = bytearray(BASE.student)
    student[slot.offset : slot.offset + slot.length] = np.full(slot.shape, -0.0, "<f4").tobytes()
    tensor = DoseTensor(1, 0.5, np.zeros(slot.shape, np.int32))
    assert apply_dose(bytes(student), BASE, dose_of(tensor)) == bytes(student)


def test_a_parent_costs_eight_bytes() -> None:
    dose = dose_of(random_tensor(2))
    child = replace(dose, parent=prefix(digest_of(b"parent")))
    assert_same(parse_dose(pack_dose(child, BASE), BASE), child)
    assert len(pack_dose(child, BASE)) == len(pack_dose(dose, BASE)) + 8
    with pytest.raises(CorruptStream, match="named by 3 bytes"):
        pack_dose(replace(dose, parent=b"abc"), BASE)


def test_a_chain_is_applied_one_after_another() -> None:
    first = tiny_dose(BASE)
    second = tiny_dose(BASE, epoch=1, seed=1, parent=first)
    student = BASE.student
    for data in (first, second):
        student = apply_dose(student, BASE, parse_dose(data, BASE))
    assert dosed_student(BASE, [first, second]) == student
    assert dosed_student(BASE, []) == BASE.student


def test_only_a_whole_chain_in_its_order_is_applied() -> None:
    first = tiny_dose(BASE)
    second = tiny_dose(BASE, epoch=1, seed=1, parent=first)
    other = tiny_dose(BASE, seed=2)
    for chain in ([second], [second, first], [other, second], [first, other]):
        with pytest.raises(DoseMismatch, match="builds on"):
            dosed_student(BASE, chain)
    with pytest.raises(CorruptStream, match="at most 8"):
        dosed_student(BASE, [first] * (MAX_CHAIN + 1))


def test_a_dose_for_another_base_is_refused_everywhere() -> None:
    other = tiny_base(1)
    with pytest.raises(DoseMismatch, match="made for base"):
        parse_dose(tiny_dose(other), BASE)
    with pytest.raises(DoseMismatch, match="made for base"):
        pack_dose(dose_of(), other)
    with pytest.raises(DoseMismatch, match="made for base"):
        apply_dose(other.student, other, dose_of())


@pytest.mark.parametrize("step", [0.0, -0.5, 1.5, float("nan"), float("inf"), 1e-50])
def test_steps_outside_their_range_are_refused(step: float) -> None:
    with pytest.raises(CorruptStream, match="step"):
        pack_dose(dose_of(replace(random_tensor(0), step=step)), BASE)


def test_doses_that_do_not_fit_are_not_packed() -> None:
    with pytest.raises(DoseMismatch, match="tensor 9"):
        pack_dose(dose_of(replace(random_tensor(0), slot=9)), BASE)
    with pytest.raises(DoseMismatch, match="values"):
        pack_dose(dose_of(replace(random_tensor(0), slot=1)), BASE)
    with pytest.raises(CorruptStream, match="twice"):
        pack_dose(dose_of(random_tensor(0), random_tensor(0)), BASE)


def test_a_graph_too_short_for_its_tensors_is_refused() -> None:
    with pytest.raises(DoseMismatch, match="ends beyond"):
        apply_dose(BASE.student[:100], BASE, dose_of(random_tensor(0)))


def repacked(header: bytes | None = None, tensors: bytes | None = None) -> bytes:
    """A dose blob with parts replaced and the CRC right again."""
    units = read_blob(pack_dose(dose_of(random_tensor(0)), BASE))
    first = units[0].payload if header is None else header
    second = units[1].payload if tensors is None else tensors
    return write_blob((Unit(UnitType.DOSE_HEADER, first), Unit(UnitType.DOSE_TENSORS, second)))


def test_hostile_doses_are_refused() -> None:
    header, tensors, _ = (unit.payload for unit in read_blob(repacked()))
    cases: list[tuple[bytes, str]] = [
        (repacked(header=header[:-1]), "instead of 15"),
        (repacked(header=header + bytes(8)), "instead of 15"),
        (repacked(header=header[:12] + b"\x81" + header[13:]), "instead of 23"),
        (repacked(header=header[:-2] + b"\xff\xff"), "."),
        (repacked(header=header[:-2] + b"\2\0", tensors=tensors[:5] * 2 + tensors[5:]), "twice"),
        (repacked(tensors=b"\x7f" + tensors[1:]), "tensor 127"),
        (repacked(tensors=tensors[:3]), "cut short"),
        (repacked(tensors=tensors[:1] + b"\0\0\x80\x7f" + tensors[5:]), "step inf"),
        (repacked(tensors=tensors[:5] + b"\x7f" + tensors[6:]), "out of range"),
        (repacked(tensors=tensors[:6] + b"\xff\xff\x03" + tensors[7:]), "out of range"),
        (repacked(tensors=tensors[:6]), "no valid integer"),
    ]
    for data, match in cases:
        with pytest.raises((CorruptStream, DoseMismatch), match=match):
            parse_dose(data, BASE)
    with pytest.raises(UnsupportedVersion, match="kind 9"):
        parse_dose(repacked(header=header[:12] + b"\x09" + header[13:]), BASE)
    with pytest.raises(CorruptStream, match="not a dose"):
        parse_dose(write_blob(()), BASE)
