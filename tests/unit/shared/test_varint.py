import numpy as np
import pytest

from microdose.errors import CorruptStream
from microdose.varint import read_varint, read_varints, unzigzag, write_varint, write_varints, zigzag

CASES = [
    (0, b"\0"),
    (127, b"\x7f"),
    (128, b"\x80\x01"),
    (300, b"\xac\x02"),
    (2**32 - 1, b"\xff\xff\xff\xff\x0f"),
]
BAD = [b"", b"\x80", b"\x80\x00", b"\x80\x80\x80\x80\x10", b"\xff" * 5, b"\x80\x80\x80\x80\x80\x01"]


@pytest.mark.parametrize(("value", "coded"), CASES)
def test_known_encodings(value: int, coded: bytes) -> None:
    assert write_varint(value) == coded
    assert read_varint(b"x" + coded + b"y", 1) == (value, 1 + len(coded))


@pytest.mark.parametrize("data", BAD)
def test_bad_encodings_are_refused_alone_and_in_arrays(data: bytes) -> None:
    with pytest.raises(CorruptStream):
        read_varint(data, 0)
    with pytest.raises(CorruptStream):
        read_varints(data, 0, 1)


@pytest.mark.parametrize("value", [-1, 2**32])
def test_out_of_range_values_are_not_written(value: int) -> None:
    with pytest.raises(ValueError, match="32-bit"):
        write_varint(value)


def test_arrays_read_like_single_values() -> None:
    values = np.array([value for value, _ in CASES], np.uint32)
    data = b"ab" + write_varints(values) + b"cd"
    read, at = read_varints(data, 2, len(values))
    assert read.tolist() == values.tolist()
    assert data[at:] == b"cd"
    assert read_varints(data, 2, 0)[0].size == 0


def test_a_huge_announced_count_costs_nothing() -> None:
    with pytest.raises(CorruptStream, match="4294967295 were announced"):
        read_varints(b"\0" * 10, 0, 2**32 - 1)


def test_zigzag_of_the_extremes() -> None:
    values = np.array([0, -1, 1, -2, 2**31 - 1, -(2**31)], np.int32)
    assert zigzag(values).tolist() == [0, 1, 2, 3, 2**32 - 2, 2**32 - 1]
    assert unzigzag(zigzag(values)).tolist() == values.tolist()
