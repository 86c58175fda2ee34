import numpy as np
import pytest
from numpy.typing import NDArray

from microdose import entropy
from microdose.errors import CorruptStream
from microdose.tables import TOTAL, gaussian_tables

TABLES = gaussian_tables([0.2, 0.5, 1.0, 2.0, 8.0, 40.0])
FAR = np.array([2**30, -(2**30), 2**31 - 1, -(2**31), 129, -129, 0], np.int32)


def sample(n: int, seed: int = 0) -> tuple[NDArray[np.int32], NDArray[np.uint8]]:
    rng = np.random.default_rng(seed)
    index = rng.integers(0, len(TABLES), n).astype(np.uint8)
    scales = np.array([0.2, 0.5, 1.0, 2.0, 8.0, 40.0])[index]
    return np.rint(rng.normal(0, scales)).astype(np.int32), index


@pytest.mark.parametrize("n", [0, 1, 2, 1000])
def test_round_trip(n: int) -> None:
    symbols, index = sample(n)
    decoded = entropy.decode(entropy.encode(symbols, index, TABLES), index, TABLES)
    assert decoded.dtype == np.int32
    assert np.array_equal(decoded, symbols)


@pytest.mark.parametrize("k", range(len(TABLES)))
def test_values_far_outside_every_table_survive(k: int) -> None:
    index = np.full(len(FAR), k, np.uint16)
    assert np.array_equal(entropy.decode(entropy.encode(FAR, index, TABLES), index, TABLES), FAR)


def test_far_values_between_ordinary_ones_keep_their_places() -> None:
    symbols, index = sample(5000)
    symbols[::7] = np.resize(FAR, len(symbols[::7]))
    assert np.array_equal(entropy.decode(entropy.encode(symbols, index, TABLES), index, TABLES), symbols)


def test_the_edges_of_a_table_do_not_escape() -> None:
    low, high = TABLES.offset[2], TABLES.offset[2] + len(TABLES.frequency[2]) - 2
    symbols = np.array([low, high, low - 1, high + 1], np.int32)
    payload = entropy.encode(symbols, np.full(4, 2, np.uint8), TABLES)
    assert payload[0] == 2
    assert np.array_equal(entropy.decode(payload, np.full(4, 2, np.uint8), TABLES), symbols)


def chance(symbol: int, k: int) -> float:
    """What the table makes of a symbol; one that escapes also costs the bytes of its value."""
    slot, row = symbol - TABLES.offset[k], TABLES.frequency[k]
    inside = 0 <= slot < len(row) - 1
    return row[slot] / TOTAL if inside else row[-1] / TOTAL / 2**16


def test_the_size_is_what_the_tables_promise() -> None:
    symbols, index = sample(50_000)
    promised = -np.log2([chance(*pair) for pair in zip(symbols, index, strict=True)]).sum() / 8
    assert len(entropy.encode(symbols, index, TABLES)) == pytest.approx(promised, rel=0.001, abs=8)


def test_an_index_without_a_table_is_refused_by_both_sides() -> None:
    index = np.array([len(TABLES)], np.uint8)
    with pytest.raises(CorruptStream, match="table 6"):
        entropy.encode(np.zeros(1, np.int32), index, TABLES)
    with pytest.raises(CorruptStream, match="table 6"):
        entropy.decode(b"\0", index, TABLES)


def test_shapes_must_agree() -> None:
    with pytest.raises(CorruptStream, match="under"):
        entropy.encode(np.zeros(2, np.int32), np.zeros(3, np.uint8), TABLES)


def test_wrong_numbers_of_escapes_and_words_are_refused() -> None:
    symbols, index = sample(2000)
    symbols[5] = 2**30
    payload = entropy.encode(symbols, index, TABLES)
    words = payload[1 + 5 :]
    for bad, match in [
        (b"", "no valid integer"),
        (b"\0" + words, "1 symbols escape"),
        (b"\2\0\0" + words, "1 symbols escape"),
        (b"\xff\xff\xff\xff\x0f" + words, "4294967295 escapes"),
        (payload + b"\0", "whole number of words"),
        (payload + b"\0\0\0\1\0\0\0\1", "goes on"),
    ]:
        with pytest.raises(CorruptStream, match=match):
            entropy.decode(bad, index, TABLES)


def test_a_coder_state_that_no_encoder_reaches_is_refused() -> None:
    with pytest.raises(CorruptStream, match="not valid"):
        entropy.decode(b"\0" + b"\xff" * 400, np.zeros(100, np.uint8), TABLES)
