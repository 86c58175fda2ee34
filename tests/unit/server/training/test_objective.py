import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
import torch

from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.encode import to_tensor
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS
from microdose_server.training.objective import discriminator_loss, stage_one_loss, stage_two_loss
from microdose_server.training.peers import Peers
from microdose_server.training.recipe import Recipe, StageTwo


@pytest.fixture
def x(photographs: list[Pixels]) -> torch.Tensor:
    return torch.cat([to_tensor(np.ascontiguousarray(photograph[:64, :64])) for photograph in photographs])


@pytest.mark.parametrize("progress", [0.1, 0.5])
def test_the_loss_is_the_weighed_sum(
    tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor, progress: float
) -> None:
    recipe = Recipe(perceptual_phases=1)
    torch.manual_seed(0)
    output = tiny_teacher(x)
    mse = ((output.x_hat - x) ** 2).mean()
    perceptual = lpips(output.x_hat, x).mean() if progress >= recipe.perceptual_from else torch.zeros(())
    torch.manual_seed(0)
    loss = stage_one_loss(tiny_teacher, lpips, x, recipe, progress, 0.7)
    bpp = float(output.rounded_bits) / (2 * 64 * 64)
    rate = 0.7 * output.bits / (2 * 64 * 64)
    assert loss.bpp == pytest.approx(bpp)
    assert loss.mse == pytest.approx(float(mse))
    assert loss.lpips == pytest.approx(float(perceptual))
    assert float(loss.loss) == pytest.approx(
        float(recipe.k_m * 255**2 * mse + rate + recipe.k_p * perceptual)
    )


@dataclass(frozen=True)
class Costlier(Peers):
    """One process of several, whose crops cost less than the mean."""

    def means(self, values: Sequence[float]) -> list[float]:
        return [value + 1.0 for value in values]


def test_the_rate_is_that_of_all_processes(tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor) -> None:
    with torch.no_grad():
        own = tiny_teacher(x).rounded_bits.item() / (2 * 64 * 64)
    shared = stage_one_loss(tiny_teacher, lpips, x, Recipe(), 0.5, 1.0, Costlier(0, 2))
    assert shared.bpp == pytest.approx(own + 1.0)


def test_the_rounded_rate_steers_and_the_noisy_rate_is_minimised(lpips: LPIPS, x: torch.Tensor) -> None:
    torch.manual_seed(0)
    teacher = Teacher(PRESETS["tiny"])
    stage_one_loss(teacher, lpips, x, Recipe(k_m=0.0, k_p=0.0), 0.5, 1.0).loss.backward()
    for part in (
        teacher.g_a,
        teacher.hyperprior.h_a,
        teacher.hyperprior.h_s_mean,
        teacher.hyperprior.z_prior,
    ):
        gradients = [p.grad for p in part.parameters() if p.requires_grad and p.grad is not None]
        assert any(bool(gradient.any()) for gradient in gradients)
    assert all(p.grad is None or not bool(p.grad.any()) for p in teacher.g_s.parameters())


def test_a_large_teacher_learns_from_it(lpips: LPIPS, x: torch.Tensor) -> None:
    torch.manual_seed(0)
    teacher = Teacher(PRESETS["large"])
    stage_one_loss(teacher, lpips, x[:1], Recipe(), 0.5, 1.0).loss.backward()
    gradients = {name: p.grad for name, p in teacher.named_parameters() if p.requires_grad}
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients.values())
    # Residual blocks begin as nothing: only their last layer and its norm learn at first.
    still = {name for name, gradient in gradients.items() if gradient is not None and not gradient.any()}
    assert still
    assert all(name.startswith("g_s.tower") and ".second" not in name for name in still)


def test_lpips_sees_only_some_crops(tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor) -> None:
    some = stage_one_loss(tiny_teacher, lpips, x, Recipe(perceptual_crops=1, perceptual_phases=1), 0.5, 1.0)
    with torch.no_grad():
        first = float(lpips(tiny_teacher(x[:1]).x_hat, x[:1]))
    assert some.lpips == pytest.approx(first, rel=1e-3)


def test_of_more_processes_than_crops_for_lpips_each_sees_one(
    tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor
) -> None:
    recipe = Recipe(perceptual_crops=4, perceptual_phases=1)
    one, few = (stage_one_loss(tiny_teacher, lpips, x, recipe, 0.5, 1.0, Peers(0, n)) for n in (4, 8))
    assert few.lpips == one.lpips > 0.0


def test_lpips_looks_from_another_place_each_time(
    tiny_teacher: Teacher, lpips: LPIPS, x: torch.Tensor
) -> None:
    with torch.no_grad():
        seen = [stage_one_loss(tiny_teacher, lpips, x, Recipe(), 0.5, 1.0).lpips for _ in range(4)]
        x_hat = tiny_teacher(x).x_hat
        possible = [
            float(
                lpips(torch.roll(x_hat, (down, right), (2, 3)), torch.roll(x, (down, right), (2, 3))).mean()
            )
            for down in range(16)
            for right in range(16)
        ]
    assert len(set(seen)) > 1
    for value in seen:
        assert min(abs(value - other) for other in possible) < 1e-3 * value


@pytest.fixture
def critic(tiny_teacher: Teacher) -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(tiny_teacher.preset.latent_channels)


def test_stage_two_adds_what_the_critic_says(
    tiny_teacher: Teacher, critic: Discriminator, lpips: LPIPS, x: torch.Tensor
) -> None:
    recipe = StageTwo(beta=0.5)
    torch.manual_seed(1)
    first = stage_one_loss(tiny_teacher, lpips, x, recipe, 0.5, 1.0)
    torch.manual_seed(1)
    second = stage_two_loss(tiny_teacher, critic, lpips, x, recipe, 0.5, 1.0)
    assert second.adversarial > 0.0
    assert second.loss.item() == pytest.approx(first.loss.item() + 0.5 * second.adversarial)
    assert second._replace(loss=first.loss, adversarial=0.0) == first


@pytest.mark.parametrize(("logit", "expected"), [(20.0, 0.0), (-20.0, 20.0)])
def test_who_passes_for_real_loses_nothing(
    tiny_teacher: Teacher, critic: Discriminator, lpips: LPIPS, x: torch.Tensor, logit: float, expected: float
) -> None:
    critic.judge.register_forward_hook(lambda *call: torch.full_like(call[-1], logit))
    loss = stage_two_loss(tiny_teacher, critic, lpips, x, StageTwo(), 0.5, 1.0)
    assert loss.adversarial == pytest.approx(expected, abs=1e-6)


def test_the_generator_learns_from_the_critic_alone(
    critic: Discriminator, lpips: LPIPS, x: torch.Tensor
) -> None:
    teacher = Teacher(PRESETS["tiny"])
    silent = StageTwo(k_m=0.0, k_p=0.0)
    stage_two_loss(teacher, critic, lpips, x, silent, 0.5, 0.0).loss.backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in teacher.g_s.parameters())
    assert not any(bool(p.grad.any()) for p in teacher.hyperprior.parameters() if p.grad is not None)


def test_who_guesses_loses_two_log_two(critic: Discriminator, tiny_teacher: Teacher, x: torch.Tensor) -> None:
    output = tiny_teacher(x)
    critic.judge.register_forward_hook(lambda *call: call[-1] * 0.0)
    loss = discriminator_loss(critic, x, output)
    assert loss.item() == pytest.approx(2 * math.log(2))


def test_who_knows_does_not(critic: Discriminator, tiny_teacher: Teacher, x: torch.Tensor) -> None:
    sign = torch.cat([torch.ones(len(x), 1, 1, 1), -torch.ones(len(x), 1, 1, 1)])
    critic.judge.register_forward_hook(lambda *call: sign * 20.0)
    assert discriminator_loss(critic, x, tiny_teacher(x)).item() == pytest.approx(0.0, abs=1e-6)
