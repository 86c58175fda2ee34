import numpy as np
import pytest
import torch

from microdose_server.codec.encode import to_tensor
from microdose_server.distil.distance import LPIPS_LEAST_SIDE, distortion, reference_of
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe

RECIPE = Recipe()


@pytest.fixture
def x(photographs: list[Pixels]) -> torch.Tensor:
    return to_tensor(np.ascontiguousarray(photographs[0][200:280, 200:300]))


def test_is_hific_s_distortion(x: torch.Tensor, lpips: LPIPS) -> None:
    x_hat = (x + 0.1).clamp(0.0, 1.0)
    found = float(distortion(x_hat, reference_of(x, lpips), lpips, RECIPE))
    expected = RECIPE.k_m * 255**2 * ((x - x_hat) ** 2).mean() + RECIPE.k_p * lpips(x_hat, x).mean()
    assert found == pytest.approx(float(expected), rel=1e-4)


def test_nothing_is_nearer_than_the_reference_itself(x: torch.Tensor, lpips: LPIPS) -> None:
    assert float(distortion(x, reference_of(x, lpips), lpips, RECIPE)) == pytest.approx(0.0, abs=1e-6)


def test_pictures_too_small_for_lpips_are_compared_by_mse(x: torch.Tensor, lpips: LPIPS) -> None:
    small = x[..., : LPIPS_LEAST_SIDE - 1, :]
    reference = reference_of(small, lpips)
    assert reference.features is None
    assert float(distortion(small + 0.1, reference, lpips, RECIPE)) == pytest.approx(152.4 * 0.01, rel=1e-3)
    assert reference_of(x[..., :LPIPS_LEAST_SIDE, :LPIPS_LEAST_SIDE], lpips).features is not None


def test_only_the_students_picture_gets_a_gradient(x: torch.Tensor, lpips: LPIPS) -> None:
    target, x_hat = x.clone().requires_grad_(), (0.9 * x).requires_grad_()
    reference = reference_of(target, lpips)
    assert reference.features is not None
    assert not any(features.requires_grad for features in reference.features)
    distortion(x_hat, reference, lpips, RECIPE).backward()
    assert x_hat.grad is not None
    assert bool(x_hat.grad.any())
