import numpy as np
import pytest
from numpy.typing import NDArray

from microdose import adaptive
from microdose.adaptive import Run
from microdose.errors import CorruptStream
from microdose.varint import write_varint

FAR = np.array([15, 16, -15, -16, 2**31 - 1, -(2**31), 0, -1], np.int32)


def laplace(scale: float, length: int, seed: int = 0) -> NDArray[np.int32]:
    return np.asarray(np.rint(np.random.default_rng(seed).laplace(0, scale, length)), np.int32)


def entropy_of(values: NDArray[np.int32]) -> float:
    """Bytes that a coder would need who knew how often each value comes."""
    _, counts = np.unique(values, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def test_vectors_of_many_lengths_and_contexts_survive() -> None:
    values = [
        laplace(scale, length, length) for scale, length in ((0, 0), (1, 1), (3, 17), (0.2, 900), (9, 64))
    ]
    contexts = [4, 0, 1, 0, 4]
    runs = [Run(context, len(each)) for context, each in zip(contexts, values, strict=True)]
    decoded = adaptive.decode(adaptive.encode(values, contexts), runs)
    assert [each.tolist() for each in decoded] == [each.tolist() for each in values]


def test_nothing_at_all_is_possible() -> None:
    assert adaptive.decode(adaptive.encode([], []), []) == []


def test_values_that_no_table_reaches_survive() -> None:
    values = np.resize(FAR, 300)
    (decoded,) = adaptive.decode(adaptive.encode([values], [0]), [Run(0, 300)])
    assert np.array_equal(decoded, values)


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0, 3.0])
def test_comes_near_to_the_entropy(scale: float) -> None:
    values = laplace(scale, 5000)
    assert len(adaptive.encode([values], [0])) < 1.03 * entropy_of(values) + 20


def test_what_one_vector_taught_helps_the_next_of_its_context() -> None:
    values = [laplace(6.0, 40, seed) for seed in range(20)]
    together = len(adaptive.encode(values, [0] * 20))
    apart = len(adaptive.encode(values, list(range(20))))
    assert together < apart - 30


def test_zeros_are_nearly_free() -> None:
    assert len(adaptive.encode([np.zeros(100_000, np.int32)], [0])) < 80


def test_tables_follow_a_change_of_what_comes() -> None:
    quiet, loud = np.zeros(20_000, np.int32), laplace(4.0, 20_000)
    assert len(adaptive.encode([quiet, loud], [0, 0])) < 1.06 * entropy_of(loud) + 80


def test_damaged_payloads_are_refused() -> None:
    payload = adaptive.encode([laplace(1.0, 50)], [0])
    for data, match in [
        (write_varint(51) + payload[1:], "51 escapes for 50"),
        (write_varint(1) + b"\x00" + payload[1:], "1 are given"),
        (payload + b"\0", "whole number of words"),
        (payload + bytes(8), "goes on after"),
        (b"", "no valid integer"),
    ]:
        with pytest.raises(CorruptStream, match=match):
            adaptive.decode(data, [Run(0, 50)])
