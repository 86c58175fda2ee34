from collections.abc import Sequence

import numpy as np
import pytest

from microdose.adaptive import Context, Decoder, Encoder, Values
from microdose.errors import CorruptStream
from microdose.varint import write_varint

FAR = np.array([15, 16, -15, -16, 2**31 - 1, -(2**31), 0, -1], np.int32)
PLAIN = Context(0)


def encoded(values: Sequence[Values], contexts: Sequence[Context]) -> bytes:
    coder = Encoder()
    for vector, context in zip(values, contexts, strict=True):
        assert coder.code(context, vector) is vector
    return coder.payload()


def decoded(payload: bytes, lengths: Sequence[int], contexts: Sequence[Context]) -> list[Values]:
    coder = Decoder(payload, sum(lengths))
    found = [
        coder.code(context, np.zeros(length, np.int32))
        for context, length in zip(contexts, lengths, strict=True)
    ]
    coder.end()
    return found


def size_of(*values: Values) -> int:
    return len(encoded(values, [PLAIN] * len(values)))


def laplace(scale: float, length: int, seed: int = 0) -> Values:
    return np.asarray(np.rint(np.random.default_rng(seed).laplace(0, scale, length)), np.int32)


def entropy_of(values: Values) -> float:
    """Bytes that a coder would need who knew how often each value comes."""
    _, counts = np.unique(values, return_counts=True)
    return float(-(counts * np.log2(counts / counts.sum())).sum() / 8)


def test_vectors_of_many_lengths_and_contexts_survive() -> None:
    values = [
        laplace(scale, length, length) for scale, length in ((0, 0), (1, 1), (3, 17), (0.2, 900), (9, 64))
    ]
    contexts = [Context(4), Context(0, 0), Context(1), Context(0, 3), Context(4)]
    found = decoded(encoded(values, contexts), list(map(len, values)), contexts)
    assert [each.tolist() for each in found] == [each.tolist() for each in values]


def test_nothing_at_all_is_possible() -> None:
    assert decoded(encoded([], []), [], []) == []


def test_values_that_no_table_reaches_survive() -> None:
    values = [np.resize(FAR, 300), np.resize(FAR, 7)]
    found = decoded(encoded(values, [PLAIN] * 2), [300, 7], [PLAIN] * 2)
    assert all(map(np.array_equal, found, values))


@pytest.mark.parametrize("scale", [0.05, 0.3, 1.0, 3.0])
def test_comes_near_to_the_entropy(scale: float) -> None:
    values = laplace(scale, 5000)
    assert size_of(values) < 1.03 * entropy_of(values) + 20


def test_what_one_vector_taught_helps_the_next_of_its_context() -> None:
    values = [laplace(6.0, 40, seed) for seed in range(20)]
    assert size_of(*values) < len(encoded(values, [Context(n) for n in range(20)])) - 30


def test_a_thin_context_expects_zeros() -> None:
    zeros = [np.zeros(16, np.int32)]
    sizes = [len(encoded(zeros * 64, [Context(n, density) for n in range(64)])) for density in range(7)]
    assert sizes == sorted(sizes)
    assert sizes[-1] > 4 * sizes[0]


def test_zeros_are_nearly_free() -> None:
    assert size_of(np.zeros(100_000, np.int32)) < 80


def test_tables_follow_a_change_of_what_comes() -> None:
    quiet, loud = np.zeros(20_000, np.int32), laplace(4.0, 20_000)
    assert size_of(quiet, loud) < 1.06 * entropy_of(loud) + 80


def test_damaged_payloads_are_refused() -> None:
    payload = encoded([laplace(1.0, 50)], [PLAIN])
    far = encoded([FAR], [PLAIN])
    for data, match in [
        (write_varint(51) + payload[1:], "51 escapes for 50"),
        (write_varint(1) + b"\x00" + payload[1:], "0 values of a dose escape their table, 1 are given"),
        (payload + b"\0", "whole number of words"),
        (payload + bytes(8), "goes on after"),
        (b"", "no valid integer"),
    ]:
        with pytest.raises(CorruptStream, match=match):
            decoded(data, [50], [PLAIN])
    with pytest.raises(CorruptStream, match="than the 0 given"):
        decoded(write_varint(0) + far[-4 * (len(far) // 4) :], [len(FAR)], [PLAIN])
