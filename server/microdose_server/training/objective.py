"""HiFiC's losses, the generator's and the discriminator's, and what the hyperprior learns from by itself.

    stage 1          rate + k_M * MSE + k_P * LPIPS
    stage 2          the same + beta * -log D(x_hat | y_hat)
    stage 3          rate
    discriminator    -log D(x | y_hat) - log(1 - D(x_hat | y_hat))

The adversarial terms are non-saturating (Goodfellow et al. 2014); D's logits go through a sigmoid.
"""

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.teacher import Teacher, TeacherOutput
from microdose_server.training.lpips import LPIPS
from microdose_server.training.peers import ALONE, Peers
from microdose_server.training.precision import mixed, reconstruct
from microdose_server.training.recipe import Recipe, StageTwo


class TeacherLoss(NamedTuple):
    """`loss` is differentiable; the rest are plain figures of the batch for the log (0: not computed)."""

    loss: Tensor
    bpp: float
    mse: float
    lpips: float
    adversarial: float = 0.0
    discriminator: float = 0.0


def stage_one_loss(
    teacher: Teacher,
    lpips: LPIPS,
    x: Tensor,
    recipe: Recipe,
    progress: float,
    rate_weight: float,
    peers: Peers = ALONE,
) -> TeacherLoss:
    """Rate, MSE and LPIPS of a batch x [N, 3, H, W] in 0..1, the first weighed by `rate_weight`, the others
    as the recipe says at `progress`.
    """
    return _fidelity(reconstruct(teacher, x), lpips, x, recipe, progress, rate_weight, peers)


def stage_two_loss(
    teacher: Teacher,
    discriminator: Discriminator,
    lpips: LPIPS,
    x: Tensor,
    recipe: StageTwo,
    progress: float,
    rate_weight: float,
    peers: Peers = ALONE,
) -> TeacherLoss:
    """Stage 1's loss of a batch, and what the discriminator makes of its reconstruction."""
    output = reconstruct(teacher, x)
    fidelity = _fidelity(output, lpips, x, recipe, progress, rate_weight, peers)
    adversarial = F.softplus(-discriminator(output.x_hat, output.y_hat)).mean()
    return fidelity._replace(loss=fidelity.loss + recipe.beta * adversarial, adversarial=adversarial.item())


def stage_three_loss(teacher: Teacher, x: Tensor, peers: Peers = ALONE) -> TeacherLoss:
    """The rate of a batch. No other term has a gradient for the hyperprior: y_hat is y with an error of
    rounding, wherever the means lie.
    """
    with mixed(x.device):
        prior = teacher.prior_of(x)
        with torch.no_grad():  # the picture is for the log alone
            x_hat = teacher.g_s(prior.y_hat)
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    mse = torch.mean((x_hat - x) ** 2).item()
    return TeacherLoss(prior.bits / pixels, peers.mean(prior.rounded_bits.item() / pixels), mse, 0.0)


def discriminator_loss(discriminator: Discriminator, x: Tensor, output: TeacherOutput) -> Tensor:
    """How badly pictures x and their reconstructions are told apart by one who knows the latents: 2 log 2 by
    guessing."""
    logits = discriminator(torch.cat([x, output.x_hat]), torch.cat([output.y_hat, output.y_hat]))
    real, fake = logits.chunk(2)
    return F.softplus(-real).mean() + F.softplus(fake).mean()


def _fidelity(
    output: TeacherOutput,
    lpips: LPIPS,
    x: Tensor,
    recipe: Recipe,
    progress: float,
    rate_weight: float,
    peers: Peers,
) -> TeacherLoss:
    pixels = x.shape[0] * x.shape[2] * x.shape[3]
    # The whole batch's rate steers the run, whatever share of it is here.
    bpp = peers.mean(output.rounded_bits.item() / pixels)
    mse = torch.mean((output.x_hat - x) ** 2)
    loss = recipe.k_m * 255.0**2 * mse + rate_weight * output.bits / pixels
    perceptual = torch.zeros(())
    if progress >= recipe.perceptual_from:
        # Where there are more processes than crops to look at, each looks at one.
        crops = max(1, recipe.perceptual_crops // peers.count)
        perceptual = lpips.estimate(output.x_hat, x, crops, recipe.perceptual_phases, x.device)
        loss = loss + recipe.k_p * perceptual
    return TeacherLoss(loss, bpp, mse.item(), perceptual.item())
