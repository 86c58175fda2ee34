"""How far a student's picture is from its target: HiFiC's distortion, for training and for choosing."""

from typing import NamedTuple

import torch
from torch import Tensor

from microdose_server.training.lpips import LPIPS, Features
from microdose_server.training.recipe import Recipe

LPIPS_LEAST_SIDE = 64
"""Below this, AlexNet's strides leave nothing to compare; such crops are compared by MSE alone."""


class Reference(NamedTuple):
    """The pictures [N, 3, H, W] to come near, in 0..1, and their LPIPS features.

    The features are kept because a tile comes round many times and its target never changes.
    """

    pixels: Tensor
    features: Features | None


@torch.no_grad()
def reference_of(pixels: Tensor, lpips: LPIPS) -> Reference:
    """What `distortion` compares with."""
    large_enough = min(pixels.shape[-2:]) >= LPIPS_LEAST_SIDE
    return Reference(pixels, lpips.embed(pixels) if large_enough else None)


def distortion(x_hat: Tensor, reference: Reference, lpips: LPIPS, recipe: Recipe) -> Tensor:
    """k_M * MSE (0..255) + k_P * LPIPS of pictures [N, 3, H, W] in 0..1, a scalar."""
    total = recipe.k_m * 255.0**2 * torch.mean((x_hat - reference.pixels) ** 2)
    if reference.features is not None:
        total = total + recipe.k_p * lpips.between(lpips.embed(x_hat), reference.features).mean()
    return total
