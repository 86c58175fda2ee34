import numpy as np
import pytest

from microdose import entropy
from microdose.errors import CorruptStream
from microdose.rows import decode_rows, encode_rows
from microdose.tables import laplace_tables
from microdose.varint import write_varint

TABLES = laplace_tables([0.02, 0.3, 1.0, 5.0])


def test_matrices_of_many_shapes_survive() -> None:
    rng = np.random.default_rng(0)
    shapes = [(1, 7), (20, 3), (4, 50), (3, 1)]
    matrices = [np.rint(rng.laplace(0, 2, shape)).astype(np.int32) for shape in shapes]
    decoded = decode_rows(encode_rows(matrices, TABLES), shapes, TABLES)
    assert all(np.array_equal(one, other) for one, other in zip(matrices, decoded, strict=True))


def test_no_matrix_at_all_is_possible() -> None:
    assert decode_rows(encode_rows([], TABLES), [], TABLES) == []


def test_each_row_pays_only_for_itself() -> None:
    quiet, loud = np.zeros((50, 100), np.int32), np.zeros((50, 100), np.int32)
    loud[25] = np.rint(np.random.default_rng(0).laplace(0, 5, 100))
    assert len(encode_rows([quiet], TABLES)) < 16
    assert len(encode_rows([loud], TABLES)) < 16 + entropy.bits(loud[25], 3, TABLES).sum() / 8 + 8


def test_a_row_table_that_does_not_exist_is_refused() -> None:
    steps = entropy.encode(np.array([4], np.int32), np.array([0], np.uint8), TABLES)
    for data, match in [
        (b"\4\0", "out of range"),
        (b"\0\7", "out of range"),
        (b"\0" + write_varint(len(steps)) + steps, "does not exist"),
    ]:
        with pytest.raises(CorruptStream, match=match):
            decode_rows(data, [(1, 3)], TABLES)
