import pytest

from microdose_server.training.psnr import psnr_of


@pytest.mark.parametrize(("mse", "expected"), [(1.0, 0.0), (1e-3, 30.0), (1e-10, 100.0), (0.0, 100.0)])
def test_a_tenth_of_the_error_is_ten_decibels_and_none_is_a_hundred(mse: float, expected: float) -> None:
    assert psnr_of(mse) == pytest.approx(expected)
