"""HiFiC's generator loss without the adversarial term: what stage 1 minimises."""

from typing import NamedTuple

import torch
from torch import Tensor

from microdose_server.codec.teacher import Teacher
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe


class StageOneLoss(NamedTuple):
    """``loss`` is differentiable; the rest are plain figures of the batch for the log."""

    loss: Tensor
    bpp: float
    mse: float
    lpips: float


def stage_one_loss(
    teacher: Teacher, lpips: LPIPS, x: Tensor, recipe: Recipe, progress: float
) -> StageOneLoss:
    """Rate, MSE and LPIPS of a batch x [N, 3, H, W] in 0..1, weighed as the recipe says at ``progress``."""
    output = teacher(x)
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    bpp = output.rounded_bits.item() / pixels
    mse = torch.mean((output.x_hat - x) ** 2)
    loss = recipe.k_m * 255.0**2 * mse + recipe.rate_weight_at(progress, bpp) * output.bits / pixels
    perceptual = torch.zeros(())
    if progress >= recipe.perceptual_from:
        seen = slice(recipe.perceptual_crops)
        perceptual = lpips(output.x_hat[seen], x[seen]).mean()
        loss = loss + recipe.k_p * perceptual
    return StageOneLoss(loss, bpp, mse.item(), perceptual.item())
