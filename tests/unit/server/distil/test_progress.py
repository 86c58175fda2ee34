import pytest

from microdose_server.distil.progress import Progress


@pytest.mark.parametrize(
    ("step", "done", "steps"), [(1, 0.25, 4), (3, 0.75, 4), (4, 1.0, 4), (5, 0.0, 5), (7, 1.0, 7)]
)
def test_the_plan_follows_from_what_is_done(step: int, done: float, steps: int) -> None:
    assert Progress.of(step, done, 1.0, 0.01).steps == steps


def test_psnr_is_in_decibels_and_finite() -> None:
    assert Progress.of(1, 0.5, 1.0, 0.01).psnr == pytest.approx(20.0)
    assert Progress.of(1, 0.5, 1.0, 0.0).psnr == pytest.approx(100.0)
