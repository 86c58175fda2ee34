"""How far a student's picture is from its target: HiFiC's distortion, for training and for choosing."""

from typing import NamedTuple

import torch
from torch import Tensor

from microdose_server.training.lpips import LPIPS, Features, Phase
from microdose_server.training.recipe import Recipe

LPIPS_LEAST_SIDE = 64
"""Below this, AlexNet's strides leave nothing to compare; such crops are compared by MSE alone."""


DISTANCE = Recipe(k_m=Recipe.k_m / 3.0)
"""Its k_m and k_p weigh MSE and LPIPS as the shipped teacher's do, whose k_p is 3; LPIPS is the unit."""


class Reference(NamedTuple):
    """The pictures [N, 3, H, W] to come near, in 0..1, their LPIPS features and the phase of these."""

    pixels: Tensor
    features: Features | None
    phase: Phase = (0, 0)


@torch.no_grad()
def reference_of(pixels: Tensor, lpips: LPIPS, phase: Phase = (0, 0)) -> Reference:
    """What `distortion` compares with."""
    large_enough = min(pixels.shape[-2:]) >= LPIPS_LEAST_SIDE
    return Reference(pixels, lpips.embed(pixels, phase) if large_enough else None, phase)


def distortion(x_hat: Tensor, reference: Reference, lpips: LPIPS, recipe: Recipe) -> Tensor:
    """k_M * MSE (0..255) + k_P * LPIPS of pictures [N, 3, H, W] in 0..1, a scalar; MSE alone of such as are
    too small for LPIPS.
    """
    error = recipe.k_m * 255.0**2 * torch.mean((x_hat - reference.pixels) ** 2)
    if reference.features is None:
        return error
    features = lpips.embed(x_hat, reference.phase)
    return error + recipe.k_p * lpips.between(features, reference.features).mean()
