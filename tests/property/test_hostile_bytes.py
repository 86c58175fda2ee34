"""Whatever bytes arrive, the only exceptions are ours: no crash, no hang, no unbounded memory."""

import io
import tracemalloc
from collections.abc import Callable
from contextlib import suppress

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from microdose import adaptive, entropy
from microdose.base import load_base
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.dose import apply_dose, parse_dose
from microdose.errors import MicrodoseError
from microdose.manifest import parse_manifest
from microdose.mds import Mds, write_mds
from microdose.segment import parse_segment
from microdose.tables import gaussian_tables
from microdose.wire import Unit, read_blob, write_blob
from microdose_client.y4m import read_frames
from tests.golden_files import golden
from tests.tiny_base import tiny_base, tiny_dose, tiny_segment, tiny_sequence

BASE = tiny_base()
TINY = tiny_sequence()
DECODER = Decoder(BASE, threads=1)
GRAPHS = {digest_of(data): data for data in (BASE.student, BASE.hyper)}
TABLES = gaussian_tables([0.1, 1.0, 30.0])
CONTEXTS = (adaptive.Context(0), adaptive.Context(1, 2), adaptive.Context(0))
INDEX = np.resize(np.array([0, 1, 2], np.uint8), 300)


def read_mds(data: bytes) -> None:
    file = Mds.open(data)
    for descriptor in file.manifest.descriptors():
        file.blob(descriptor.digest)


def use_dose(data: bytes) -> None:
    apply_dose(BASE.student, BASE, parse_dose(data, BASE))


def decode_symbols(data: bytes) -> None:
    symbols = entropy.decode(data, INDEX, TABLES)
    assert symbols.shape == (300,)


def decode_vectors(data: bytes) -> None:
    coder = adaptive.Decoder(data, 240)
    for context in CONTEXTS:
        assert len(coder.code(context, np.zeros(80, np.int32))) == 80
    coder.end()


def encoded_vectors() -> bytes:
    coder = adaptive.Encoder()
    for context in CONTEXTS:
        coder.code(context, np.arange(-40, 40, dtype=np.int32))
    return coder.payload()


def watch_y4m(data: bytes) -> None:
    for _ in read_frames(io.BytesIO(data)):
        pass


Reader = Callable[[bytes], object]
READERS: dict[str, tuple[Reader, bytes]] = {
    "blob": (read_blob, tiny_segment(BASE)),
    "y4m": (watch_y4m, b"YUV4MPEG2 W4 H2 F25:1 C420jpeg XCOLORRANGE=FULL\nFRAME\n" + bytes(range(12))),
    "segment": (parse_segment, tiny_segment(BASE)),
    "picture": (DECODER.decode, tiny_segment(BASE)),
    "dose": (use_dose, tiny_dose(BASE)),
    "legacy dose": (use_dose, golden("v1", "dose.mdse")),
    "dose without channels": (use_dose, golden("v1.1", "dose.mdse")),
    "vectors": (decode_vectors, encoded_vectors()),
    "manifest": (parse_manifest, TINY.manifest.to_bytes()),
    "mds": (read_mds, write_mds(TINY.manifest, TINY.blobs)),
    "base": (
        lambda data: load_base(data, lambda each: GRAPHS.get(each.digest, b"")),
        BASE.document.to_bytes(),
    ),
    "symbols": (
        decode_symbols,
        entropy.encode(np.arange(300, dtype=np.int32), INDEX, TABLES),
    ),
}


def survives(reader: Reader, data: bytes) -> None:
    """Read the bytes: an error must be one of ours."""
    with suppress(MicrodoseError):
        reader(data)


def mutate(data: bytes, edits: list[tuple[float, int, bytes]]) -> bytes:
    """Replace, cut or repeat stretches of the data at relative positions."""
    for place, length, new in edits:
        at = int(place * len(data))
        data = data[:at] + new + data[at + length :]
    return data


POSITION = st.floats(0, 1, exclude_max=True)
EDITS = st.lists(st.tuples(POSITION, st.integers(0, 8), st.binary(max_size=8)), min_size=1, max_size=4)


@pytest.mark.parametrize("kind", READERS)
@given(data=st.binary(max_size=400))
@example(data=b"")
@example(data=b"MDSE\x01\x06\x00")
@example(data=b"[" * 5000)
@example(data=b'{"a":' * 5000)
def test_random_bytes(kind: str, data: bytes) -> None:
    reader, valid = READERS[kind]
    survives(reader, data)
    survives(reader, valid[:9] + data)


@pytest.mark.parametrize("kind", READERS)
@given(edits=EDITS)
def test_mutations(kind: str, edits: list[tuple[float, int, bytes]]) -> None:
    reader, valid = READERS[kind]
    survives(reader, mutate(valid, edits))


@pytest.mark.parametrize("kind", ["picture", "dose", "legacy dose"])
@given(number=st.integers(0, 2), edits=EDITS)
def test_mutations_with_a_right_crc(kind: str, number: int, edits: list[tuple[float, int, bytes]]) -> None:
    reader, valid = READERS[kind]
    units = list(read_blob(valid)[:-1])
    number %= len(units)
    payload = mutate(units[number].payload, edits)
    if number == 0:
        payload = payload[: len(units[0].payload)]
    units[number] = Unit(units[number].type, payload)
    survives(reader, write_blob(units))


@given(place=POSITION)
@pytest.mark.parametrize("kind", ["picture", "dose", "legacy dose", "mds"])
def test_every_truncation_is_an_error(kind: str, place: float) -> None:
    reader, valid = READERS[kind]
    with pytest.raises(MicrodoseError):
        reader(valid[: int(place * len(valid))])


def test_lengths_that_lie_do_not_allocate() -> None:
    lies = [
        b"MDSE\x01\x03\xff\xff\xff\xff\x0f",
        b"MDSF\x01\xff\xff\xff\xff",
        b"MDSF\x01\x00\x00\x00\x02{}",
    ]
    tracemalloc.start()
    for lie in lies:
        for reader, _ in READERS.values():
            survives(reader, lie)
    survives(decode_symbols, b"\xff\xff\xff\xff\x0f")
    survives(decode_symbols, b"\xac\x02" + b"\x80" * 3000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 2**20
