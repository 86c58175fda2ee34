import numpy as np
import pytest
from numpy.typing import NDArray

from microdose.changes import (
    MAX_FACTOR,
    Add,
    Change,
    LowRank,
    Scale,
    check_change,
    code_of,
    matrix_shape,
    merge,
    step_of,
)
from microdose.errors import CorruptStream, DoseMismatch
from tests.tiny_base import tiny_base

BASE = tiny_base()
BODY, BIAS = BASE.slot(0), BASE.slot(1)
STEP = step_of(40)


def integers(*shape: int, seed: int = 0) -> NDArray[np.int32]:
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.int32)


def weights(*shape: int) -> NDArray[np.float32]:
    return np.random.default_rng(1).normal(0, 1, shape).astype(np.float32)


def test_every_step_is_exact_in_float32_and_has_a_code_of_its_own() -> None:
    steps = [step_of(code) for code in range(256)]
    assert all(float(np.float32(step)) == step and 2.0**-33 < step < 1.0 for step in steps)
    assert [code_of(step) for step in steps] == list(range(256))
    assert code_of(1e-30) == 248


def test_codes_are_of_the_nearest_step() -> None:
    for step in (0.9, 0.1234, 3e-5):
        assert step_of(code_of(step)) == pytest.approx(step, rel=0.065)


def test_scaling_multiplies_rows() -> None:
    before, values = weights(4, 6), np.array([0, 1, -2, 3], np.int32)
    after = before.copy()
    merge(after, Scale(0, STEP, values))
    factors = np.float32(1) + np.float32(STEP) * values.astype(np.float32)
    assert after.tobytes() == (before * factors[:, None]).tobytes()


def test_adding_adds_step_times_value() -> None:
    before, values = weights(4, 6), integers(4, 2, 3)
    after = before.copy()
    merge(after, Add(0, STEP, values))
    assert after.tobytes() == (before + np.float32(STEP) * values.reshape(4, 6).astype(np.float32)).tobytes()


def test_a_product_is_exact_before_it_is_rounded() -> None:
    """The same sum in Python's integers, which know no rounding."""
    rng = np.random.default_rng(3)
    left, right = (
        rng.integers(-MAX_FACTOR, MAX_FACTOR + 1, shape).astype(np.int32) for shape in ((3, 64), (64, 5))
    )
    before = weights(3, 5)
    after = before.copy()
    merge(after, LowRank(0, STEP, left, right))
    for i in range(3):
        for j in range(5):
            exact = sum(int(a) * int(b) for a, b in zip(left[i], right[:, j], strict=True))
            assert after[i, j] == before[i, j] + np.float32(STEP) * np.float32(exact)


def test_zeros_change_no_byte_even_of_a_negative_zero() -> None:
    before = np.full((4, 6), -0.0, np.float32)
    zeros: list[Change] = [
        Scale(0, STEP, np.zeros(4, np.int32)),
        LowRank(0, STEP, integers(4, 1), np.zeros((1, 6), np.int32)),
        Add(0, STEP, np.zeros((4, 6), np.int32)),
    ]
    for change in zeros:
        after = before.copy()
        merge(after, change)
        assert after.tobytes() == before.tobytes()


def test_absurd_changes_do_not_raise() -> None:
    after = weights(4, 6)
    for _ in range(9):
        merge(after, Scale(0, step_of(0), np.full(4, 2**31 - 1, np.int32)))
    assert not np.isfinite(after).any()


def test_a_vector_is_one_row() -> None:
    assert (matrix_shape(BODY), matrix_shape(BIAS)) == ((8, 72), (1, 8))


def test_what_does_not_fit_its_tensor_is_refused() -> None:
    check_change(LowRank(0, STEP, integers(8, 2), integers(2, 72)), BODY)
    for change in (
        Scale(0, STEP, integers(7)),
        Add(0, STEP, integers(8, 72)),
        LowRank(0, STEP, integers(8, 2), integers(3, 72)),
    ):
        with pytest.raises(DoseMismatch, match="values"):
            check_change(change, BODY)
    with pytest.raises(CorruptStream, match="rank 9"):
        check_change(LowRank(0, STEP, integers(8, 9), integers(9, 72)), BODY)
    with pytest.raises(CorruptStream, match="beyond 32767"):
        check_change(LowRank(0, STEP, integers(8, 1), np.full((1, 72), -(2**31), np.int32)), BODY)
