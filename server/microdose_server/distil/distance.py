"""How far a student's picture is from the teacher's: HiFiC's distortion, in one unit for training and for choosing."""

import torch
from torch import Tensor

from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe

LPIPS_LEAST_SIDE = 64
"""Below this, AlexNet's strides leave nothing to compare; such crops are compared by MSE alone."""


def distortion(x_hat: Tensor, target: Tensor, lpips: LPIPS, recipe: Recipe) -> Tensor:
    """k_M * MSE (0..255) + k_P * LPIPS of pictures [N, 3, H, W] in 0..1, a scalar."""
    total = recipe.k_m * 255.0**2 * torch.mean((x_hat - target) ** 2)
    if min(target.shape[-2:]) >= LPIPS_LEAST_SIDE:
        total = total + recipe.k_p * lpips(x_hat, target).mean()
    return total
