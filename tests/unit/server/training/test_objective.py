import numpy as np
import pytest
import torch

from microdose_server.codec.encode import to_tensor
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS
from microdose_server.training.objective import stage_one_loss
from microdose_server.training.recipe import Recipe


@pytest.fixture
def x(photographs: list[Pixels]) -> torch.Tensor:
    return torch.cat([to_tensor(np.ascontiguousarray(photograph[:64, :64])) for photograph in photographs])


@pytest.mark.parametrize("progress", [0.1, 0.5])
def test_the_loss_is_the_weighed_sum(
    tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor, progress: float
) -> None:
    recipe = Recipe()
    torch.manual_seed(0)
    with torch.no_grad():
        output = tiny_teacher(x)
        mse = ((output.x_hat - x) ** 2).mean()
        perceptual = lpips(output.x_hat, x).mean() if progress >= recipe.perceptual_from else torch.zeros(())
    torch.manual_seed(0)
    loss = stage_one_loss(tiny_teacher, lpips, x, recipe, progress)
    bpp = float(output.rounded_bits) / (2 * 64 * 64)
    rate = recipe.rate_weight_at(progress, bpp) * output.bits / (2 * 64 * 64)
    assert loss.bpp == pytest.approx(bpp)
    assert loss.mse == pytest.approx(float(mse))
    assert loss.lpips == pytest.approx(float(perceptual))
    assert float(loss.loss) == pytest.approx(
        float(recipe.k_m * 255**2 * mse + rate + recipe.k_p * perceptual)
    )


def test_the_rounded_rate_steers_and_the_noisy_rate_is_minimised(lpips: LPIPS, x: torch.Tensor) -> None:
    torch.manual_seed(0)
    teacher = Teacher(PRESETS["tiny"])
    stage_one_loss(teacher, lpips, x, Recipe(k_m=0.0, k_p=0.0), 0.5).loss.backward()
    for part in (
        teacher.g_a,
        teacher.hyperprior.h_a,
        teacher.hyperprior.h_s_mean,
        teacher.hyperprior.z_prior,
    ):
        gradients = [p.grad for p in part.parameters() if p.requires_grad and p.grad is not None]
        assert any(bool(gradient.any()) for gradient in gradients)
    assert all(p.grad is None or not bool(p.grad.any()) for p in teacher.g_s.parameters())


def test_lpips_sees_only_some_crops(tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor) -> None:
    some = stage_one_loss(tiny_teacher, lpips, x, Recipe(perceptual_crops=1), 0.5)
    with torch.no_grad():
        first = float(lpips(tiny_teacher(x[:1]).x_hat, x[:1]))
    assert some.lpips == pytest.approx(first, rel=1e-3)
