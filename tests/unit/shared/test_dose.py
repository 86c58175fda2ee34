from dataclasses import replace

import numpy as np
import pytest

from microdose.changes import Add, Change, LowRank, Scale, parts_of, step_of
from microdose.digest import digest_of, prefix
from microdose.dose import MAX_CHAIN, Dose, DoseKind, apply_dose, dosed_student, pack_dose, parse_dose
from microdose.errors import CorruptStream, DoseMismatch, UnsupportedVersion
from microdose.wire import Unit, UnitType, read_blob, write_blob
from tests.tiny_base import tiny_base, tiny_changes, tiny_dose

BASE = tiny_base()
SLOTS = BASE.document.tensors
RNG = np.random.default_rng(0)


def dose_of(*changes: Change) -> Dose:
    return Dose(BASE.prefix, 2, DoseKind.FULL, changes)


def random_add(number: int, spread: float = 1.0) -> Add:
    values = np.random.default_rng(0).normal(0, spread, SLOTS[number].shape)
    return Add(number, 2.0**-8, np.rint(values).astype(np.int32))


def assert_same(one: Dose, other: Dose) -> None:
    assert (one.base_prefix, one.epoch, one.kind) == (other.base_prefix, other.epoch, other.kind)
    assert one.parent == other.parent
    for left, right in zip(one.changes, other.changes, strict=True):
        assert (type(left), left.slot, left.step) == (type(right), right.slot, right.step)
        for here, there in zip(parts_of(left), parts_of(right), strict=True):
            assert np.array_equal(here, there)


@pytest.mark.parametrize("kind", [DoseKind.GAINS, DoseKind.LOW_RANK, DoseKind.FULL])
def test_round_trip_of_every_form_and_kind(kind: DoseKind) -> None:
    changes = [change for number in (0, 2, 3) for change in tiny_changes(BASE, number, RNG)]
    dose = replace(dose_of(*changes), kind=kind)
    assert_same(parse_dose(pack_dose(dose, BASE), BASE), dose)


def test_values_that_no_table_reaches_survive() -> None:
    add = random_add(1)
    add.values[:4] = [2**30, -(2**30), 2**31 - 1, -(2**31)]
    assert_same(parse_dose(pack_dose(dose_of(add), BASE), BASE), dose_of(add))


def test_a_dose_without_changes_is_possible_and_one_of_no_kind_is_not() -> None:
    assert apply_dose(BASE.student, BASE, parse_dose(pack_dose(dose_of(), BASE), BASE)) == BASE.student
    with pytest.raises(CorruptStream, match="send no dose"):
        pack_dose(replace(dose_of(), kind=DoseKind.NONE), BASE)


def test_zeros_are_nearly_free() -> None:
    zeros = [Add(n, 0.5, np.zeros(slot.shape, np.int32)) for n, slot in enumerate(SLOTS)]
    assert sum(each.values.size for each in zeros) > 7000
    assert len(pack_dose(dose_of(*zeros), BASE)) < 100


def test_where_few_channels_matter_their_values_are_cheap() -> None:
    live = np.rint(np.random.default_rng(1).laplace(0, 2, SLOTS[2].shape)).astype(np.int32)
    live[:, 1:] = 0
    spread = np.random.default_rng(2).permutation(live.ravel()).reshape(live.shape)
    cheap, dear = (len(pack_dose(dose_of(Add(2, 0.5, values)), BASE)) for values in (live, spread))
    assert cheap < 0.7 * dear


def test_gains_cost_a_byte_or_so_for_each_channel() -> None:
    values = np.rint(np.random.default_rng(0).laplace(0, 1, 768)).astype(np.int32)
    assert len(pack_dose(dose_of(Scale(2, 2.0**-6, values)), BASE)) < 320


def test_changes_of_one_tensor_follow_one_another() -> None:
    scale, product, add = tiny_changes(BASE, 0, RNG)
    student = BASE.student
    for change in (scale, product, add):
        student = apply_dose(student, BASE, dose_of(change))
    assert apply_dose(BASE.student, BASE, dose_of(scale, product, add)) == student
    slot = SLOTS[0]
    assert student[: slot.offset] == BASE.student[: slot.offset]
    assert student[slot.offset + slot.length :] == BASE.student[slot.offset + slot.length :]
    assert student != BASE.student


def test_a_parent_costs_eight_bytes() -> None:
    dose = dose_of(random_add(2))
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


def test_doses_that_do_not_fit_are_not_packed() -> None:
    with pytest.raises(DoseMismatch, match="tensor 9"):
        pack_dose(dose_of(replace(random_add(0), slot=9)), BASE)
    with pytest.raises(DoseMismatch, match="values"):
        pack_dose(dose_of(replace(random_add(0), slot=1)), BASE)
    with pytest.raises(CorruptStream, match="growing slot"):
        pack_dose(dose_of(random_add(0), random_add(0)), BASE)
    with pytest.raises(CorruptStream, match="growing slot"):
        pack_dose(dose_of(random_add(1), random_add(0)), BASE)
    with pytest.raises(CorruptStream, match="epoch -1"):
        pack_dose(replace(dose_of(), epoch=-1), BASE)


def test_a_graph_too_short_for_its_tensors_is_refused() -> None:
    with pytest.raises(DoseMismatch, match="ends beyond"):
        apply_dose(BASE.student[:100], BASE, dose_of(random_add(0)))


def repacked(header: bytes | None = None, tensors: bytes | None = None) -> bytes:
    """A dose blob with parts replaced and the CRC right again."""
    product = LowRank(0, step_of(30), np.ones((8, 2), np.int32), np.ones((2, 72), np.int32))
    units = read_blob(pack_dose(dose_of(product), BASE))
    first = units[0].payload if header is None else header
    second = units[1].payload if tensors is None else tensors
    return write_blob((Unit(UnitType.DOSE_HEADER, first), Unit(UnitType.DOSE_TENSORS, second)))


def test_hostile_doses_are_refused() -> None:
    header, tensors, _ = (unit.payload for unit in read_blob(repacked()))
    assert tensors[:4] == bytes([0, 2, 30, 2])
    cases: list[tuple[bytes, str]] = [
        (repacked(header=header[:-1]), "instead of 15"),
        (repacked(header=header + bytes(8)), "instead of 15"),
        (repacked(header=header[:12] + b"\x84" + header[13:]), "instead of 23"),
        (repacked(header=header[:-2] + b"\xff\xff"), "."),
        (repacked(header=header[:-2] + b"\2\0", tensors=tensors[:4] * 2 + tensors[4:]), "growing slot"),
        (repacked(tensors=b"\x7f" + tensors[1:]), "tensor 127"),
        (repacked(tensors=tensors[:3]), "cut short"),
        (repacked(tensors=tensors[:1]), "form of change"),
        (repacked(tensors=tensors[:1] + b"\x04" + tensors[2:]), "form of change"),
        (repacked(tensors=tensors[:3] + b"\x00" + tensors[4:]), "rank 0"),
        (repacked(tensors=tensors[:3] + b"\x09" + tensors[4:]), "rank 9"),
        (repacked(tensors=tensors[:4]), "no valid integer"),
    ]
    for data, match in cases:
        with pytest.raises((CorruptStream, DoseMismatch), match=match):
            parse_dose(data, BASE)
    with pytest.raises(UnsupportedVersion, match="kind 9"):
        parse_dose(repacked(header=header[:12] + b"\x09" + header[13:]), BASE)
    with pytest.raises(CorruptStream, match="not a dose"):
        parse_dose(write_blob(()), BASE)
