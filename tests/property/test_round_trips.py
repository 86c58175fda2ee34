"""What is written can be read, for every value a format can hold."""

import io
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from numpy.typing import NDArray

from microdose import entropy
from microdose.adaptive import Context, Decoder, Encoder
from microdose.changes import Add, Change, LowRank, Scale, matrix_shape, parts_of, step_of
from microdose.dose import WIRE_KINDS, Dose, apply_dose, pack_dose, parse_dose
from microdose.manifest import Event, SegmentEntry
from microdose.segment import PictureHeader, Segment, latent_side, pack_segment, parse_segment
from microdose.tables import TOTAL, TableSet, tables_from_pmf
from microdose.varint import read_varint, read_varints, unzigzag, write_varint, write_varints, zigzag
from microdose.wire import Unit, UnitType, read_blob, write_blob
from microdose_client.frames import Form, Frames
from microdose_client.y4m import read_frames
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


CONTEXTS = st.builds(Context, st.integers(0, 30), st.integers(0, 6))


@given(st.lists(st.tuples(CONTEXTS, arrays(np.int32, st.integers(0, 70), elements=NEAR_OR_FAR))))
def test_vectors_under_tables_that_learn(pairs: list[tuple[Context, NDArray[np.int32]]]) -> None:
    encoder = Encoder()
    for context, vector in pairs:
        encoder.code(context, vector)
    decoder = Decoder(encoder.payload(), sum(len(vector) for _, vector in pairs))
    for context, vector in pairs:
        assert decoder.code(context, np.zeros_like(vector)).tolist() == vector.tolist()
    decoder.end()


@st.composite
def changes(draw: st.DrawFn, number: int) -> list[Change]:
    """Some changes of one tensor of the tiny base: mostly small values with some extreme ones."""
    rows, rest = matrix_shape(BASE.slot(number))
    rank = draw(st.integers(1, min(rows, rest, 3)))
    rng = np.random.default_rng(draw(st.integers(0, 99)))

    def values(limit: int, *shape: int) -> NDArray[np.int32]:
        spread = draw(st.sampled_from([0.0, 0.1, 2.0, 1e3]))
        drawn = np.asarray(np.rint(rng.laplace(0, spread, shape)), np.int32)
        drawn.flat[0] = draw(st.integers(-limit, limit))
        return drawn

    step = step_of(draw(st.integers(0, 255)))
    far = 2**31 - 1
    of_each_form: list[Change] = [
        Scale(number, step, values(far, rows)),
        LowRank(number, step, values(2**15 - 1, rows, rank), values(2**15 - 1, rank, rest)),
        Add(number, step, values(far, *BASE.slot(number).shape)),
    ]
    return [change for change in of_each_form if draw(st.booleans())]


@st.composite
def doses(draw: st.DrawFn) -> Dose:
    """Doses of the tiny base: any choice of tensors and forms."""
    parent = draw(st.just(b"") | st.binary(min_size=8, max_size=8))
    chosen = [change for number in range(len(BASE.document.tensors)) for change in draw(changes(number))]
    return Dose(BASE.prefix, draw(U32), draw(st.sampled_from(WIRE_KINDS[1:])), tuple(chosen), parent)


@given(doses())
def test_doses(dose: Dose) -> None:
    parsed = parse_dose(pack_dose(dose, BASE), BASE)
    assert (parsed.epoch, parsed.kind, parsed.parent) == (dose.epoch, dose.kind, dose.parent)
    for left, right in zip(parsed.changes, dose.changes, strict=True):
        assert (type(left), left.slot, left.step) == (type(right), right.slot, right.step)
        for here, there in zip(parts_of(left), parts_of(right), strict=True):
            assert np.array_equal(here, there)
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


@given(arrays(np.uint8, st.tuples(st.integers(1, 9), st.integers(1, 9), st.just(3))), st.integers(1, 3))
def test_pixels_in_y4m(pixels: NDArray[np.uint8], count: int) -> None:
    stream = io.BytesIO()
    frames = Frames(stream, Form.Y4M)
    for _ in range(count):
        frames.write(pixels)
    stream.seek(0)
    found = list(read_frames(stream))
    assert len(found) == count
    assert all(np.abs(one.astype(int) - pixels).max() <= 2 for one in found)
