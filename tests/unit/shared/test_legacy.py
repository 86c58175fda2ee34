"""The older coding of tensors, on a file from when it was written."""

import pytest

from microdose.changes import Add
from microdose.dose import DoseKind, parse_dose
from microdose.errors import CorruptStream, DoseMismatch
from microdose.wire import Unit, UnitType, read_blob, write_blob
from tests.golden_files import golden, golden_base

BASE, DOSE = golden_base("v1"), golden("v1", "dose.mdse")


def test_every_tensor_is_added_to() -> None:
    dose = parse_dose(DOSE, BASE)
    assert (dose.kind, dose.epoch, dose.parent) == (DoseKind.FULL, 5, b"")
    assert [change.slot for change in dose.changes] == [0, 1, 2, 3]
    for change in dose.changes:
        assert isinstance(change, Add)
        assert change.step == 2.0**-10
        assert change.values.shape == BASE.slot(change.slot).shape


def test_hostile_ones_are_refused() -> None:
    header, tensors, _ = (unit.payload for unit in read_blob(DOSE))
    heads, values = tensors[:20], tensors[20:]
    cases: list[tuple[bytes, str]] = [
        (heads[:5] * 4 + values, "twice"),
        (b"\x7f" + tensors[1:], "tensor 127"),
        (tensors[:3], "cut short"),
        (tensors[:1] + b"\0\0\x80\x7f" + tensors[5:], "step inf"),
        (tensors[:1] + b"\0\0\xc0\x7f" + tensors[5:], "step nan"),
        (tensors[:1] + b"\0\0\0\0" + tensors[5:], "step 0.0"),
        (heads + b"\x7f" + values[1:], "out of range"),
        (heads + values[:1] + b"\xff\xff\x03" + values[2:], "out of range"),
        (heads + values[:1], "no valid integer"),
    ]
    for payload, match in cases:
        blob = write_blob((Unit(UnitType.DOSE_HEADER, header), Unit(UnitType.DOSE_TENSORS, payload)))
        with pytest.raises((CorruptStream, DoseMismatch), match=match):
            parse_dose(blob, BASE)
