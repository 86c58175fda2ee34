"""What is written can be read, for every value a format can hold."""

from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from microdose import entropy
from microdose.dose import KINDS, Dose, DoseTensor, apply_dose, pack_dose, parse_dose
from microdose.manifest import Event, SegmentEntry
from microdose.segment import PictureHeader, Segment, latent_side, pack_segment, parse_segment
from microdose.tables import TOTAL, TableSet, tables_from_pmf
from microdose.varint import read_varint, read_varints, unzigzag, write_varint, write_varints, zigzag
from microdose.wire import Unit, UnitType, read_blob, write_blob
from tests.tiny_base import describe, tiny_base

BASE = tiny_base()
U32 = st.integers(0, 2**32 - 1)
NEAR_OR_FAR = st.one_of(st.integers(-3, 3), st.integers(-300, 300), st.integers(-(2**31), 2**31 - 1))


@st.composite
def table_sets(draw: st.DrawFn) -> TableSet:
    """Tables of any shape, from uniform to nearly certain."""
    row = st.lists(st.floats(0, 1) | st.just(1e-9), min_size=1, max_size=40)
    rows = draw(st.lists(st.tuples(st.integers(-50, 50), row), min_size=1, max_size=6))
    return tables_from_pmf([(offset, [mass / max(1.0, sum(pmf)) for mass in pmf]) for offset, pmf in rows])


@given(table_sets())
def test_tables_always_hold_their_invariants(tables: TableSet) -> None:
    assert all(sum(row) == TOTAL and min(row) >= 1 for row in tables.frequency)


@given(table_sets(), st.data())
def test_symbols(tables: TableSet, data: st.DataObject) -> None:
    pairs = data.draw(st.lists(st.tuples(NEAR_OR_FAR, st.integers(0, len(tables) - 1)), max_size=200))
    symbols = np.array([symbol for symbol, _ in pairs], np.int32)
    index = np.array([k for _, k in pairs], np.uint8)
    payload = entropy.encode(symbols, index, tables)
    assert entropy.decode(payload, index, tables).tolist() == symbols.tolist()
    assert payload == entropy.encode(symbols, index.astype(np.uint16), tables)


@given(U32, st.binary(max_size=3))
def test_varint(value: int, after: bytes) -> None:
    coded = write_varint(value)
    assert read_varint(coded + after, 0) == (value, len(coded))


@given(arrays(np.uint32, st.integers(0, 50), elements=U32), st.binary(max_size=9), st.binary(max_size=9))
def test_arrays_of_varints(values: NDArray[np.uint32], before: bytes, after: bytes) -> None:
    data = before + write_varints(values) + after
    read, at = read_varints(data, len(before), len(values))
    assert read.tolist() == values.tolist()
    assert data[at:] == after


@given(arrays(np.int32, st.integers(0, 50)))
def test_zigzag(values: NDArray[np.int32]) -> None:
    assert unzigzag(zigzag(values)).tolist() == values.tolist()


@given(
    st.lists(
        st.tuples(st.sampled_from([UnitType.HYPER, UnitType.LATENTS]), st.binary(max_size=300)), max_size=9
    )
)
def test_blobs(pairs: list[tuple[UnitType, bytes]]) -> None:
    units = tuple(Unit(*pair) for pair in pairs)
    assert read_blob(write_blob(units)) == (*units, Unit(UnitType.END, b""))


@given(
    st.integers(1, 16384),
    st.integers(1, 2441),
    U32,
    st.binary(min_size=12, max_size=12),
    st.binary(),
    st.binary(),
)
def test_segments(width: int, height: int, epoch: int, ids: bytes, hyper: bytes, latents: bytes) -> None:
    header = PictureHeader(width, height, latent_side(height), latent_side(width), epoch, ids[:8], ids[8:])
    segment = Segment(header, hyper, latents)
    assert parse_segment(pack_segment(segment)) == segment


@st.composite
def doses(draw: st.DrawFn) -> Dose:
    """Doses of the tiny base: any choice of tensors, mostly small values with some extreme ones."""
    tensors = []
    for number in draw(st.permutations(range(len(BASE.document.tensors))))[: draw(st.integers(0, 4))]:
        shape = BASE.document.tensors[number].shape
        seed, spread = draw(st.integers(0, 99)), draw(st.sampled_from([0.0, 0.1, 2.0, 1e3]))
        values = np.rint(np.random.default_rng(seed).laplace(0, spread, shape)).astype(np.int32)
        values.flat[0] = draw(NEAR_OR_FAR)
        step = draw(st.floats(2.0**-30, 1.0, width=32))
        tensors.append(DoseTensor(number, step, values))
    parent = draw(st.just(b"") | st.binary(min_size=8, max_size=8))
    return Dose(BASE.prefix, draw(U32), draw(st.sampled_from(KINDS)), tuple(tensors), parent)


@given(doses())
def test_doses(dose: Dose) -> None:
    parsed = parse_dose(pack_dose(dose, BASE), BASE)
    assert (parsed.epoch, parsed.kind, len(parsed.tensors)) == (dose.epoch, dose.kind, len(dose.tensors))
    assert parsed.parent == dose.parent
    for left, right in zip(parsed.tensors, dose.tensors, strict=True):
        assert (left.slot, left.step) == (right.slot, right.step)
        assert np.array_equal(left.values, right.values)
    assert apply_dose(BASE.student, BASE, parsed) == apply_dose(BASE.student, BASE, dose)


@given(st.text(max_size=200), st.lists(st.text(max_size=200), max_size=16), st.binary(max_size=20))
def test_events(name: str, notes: list[str], blob: bytes) -> None:
    segment: dict[str, Any] = {"n": 1, "epoch": 0, "name": name, "width": 9, "height": 9, "notes": notes}
    entry = SegmentEntry.model_validate(segment | {"blob": describe(blob, "x/y")})
    event = Event(seq=1, type="segment", segment=entry)
    data = event.to_bytes()
    read = Event.model_validate_json(data)
    assert len(data) <= 1024
    assert read == event or read.segment == entry.model_copy(update={"name": None, "notes": ()})
