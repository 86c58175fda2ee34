"""The mean-scale hyperprior: h_a, two h_s, a factorised prior for z, a Gaussian for y (Minnen et al. 2018).

h_s predicts log2(sigma) rather than sigma: its integer twin (`codec.integer`) then needs nothing but
comparisons to choose an entropy table, and the precision is the same at every scale.
"""

import math
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from microdose_server.codec.entropy_models import EntropyBottleneck, GaussianConditional, LowerBound
from microdose_server.codec.presets import Preset

HYPER_STRIDE = 4
SCALE_LEAST, SCALE_MOST, SCALE_LEVELS = 0.11, 256.0, 64


def scale_table() -> list[float]:
    """The 64 standard deviations, log-spaced from 0.11 to 256, that have an entropy table."""
    low, high = math.log(SCALE_LEAST), math.log(SCALE_MOST)
    return [math.exp(low + (high - low) * k / (SCALE_LEVELS - 1)) for k in range(SCALE_LEVELS)]


class HyperAnalysis(nn.Sequential):
    """h_a: y [N, C, h, w] -> z [N, Cz, h/4, w/4]; h and w multiples of 4."""

    def __init__(self, preset: Preset) -> None:
        hyper = preset.hyper_channels
        super().__init__(
            nn.Conv2d(preset.latent_channels, hyper, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(hyper, hyper, 5, stride=2, padding=2),
            nn.ReLU(),
            nn.Conv2d(hyper, hyper, 5, stride=2, padding=2),
        )


class HyperSynthesis(nn.Sequential):
    """h_s: z_hat [N, Cz, h/4, w/4] -> one parameter per latent [N, C, h, w]."""

    def __init__(self, preset: Preset) -> None:
        hyper = preset.hyper_channels
        super().__init__(
            nn.ConvTranspose2d(hyper, hyper, 5, stride=2, padding=2, output_padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(hyper, hyper, 5, stride=2, padding=2, output_padding=1),
            nn.ReLU(),
            nn.Conv2d(hyper, preset.latent_channels, 3, padding=1),
        )


class HyperOutput(NamedTuple):
    """y_hat as the decoder will have it (straight-through gradient); bits per batch: noisy and rounded.

    Noise stands in for rounding so that something can learn: without gradients both are of rounded latents.
    """

    y_hat: Tensor
    bits: Tensor
    rounded_bits: Tensor


class Hyperprior(nn.Module):
    """Rate and quantisation of y. z is rounded to plain integers: its prior's medians stay at zero."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.h_a = HyperAnalysis(preset)
        self.h_s_scale = HyperSynthesis(preset)
        self.h_s_mean = HyperSynthesis(preset)
        self.z_prior = EntropyBottleneck(preset.hyper_channels)
        self.z_prior.quantiles.requires_grad_(False)
        self.y_prior = GaussianConditional(scale_table(), scale_bound=SCALE_LEAST)
        self.log_scale_bound = LowerBound(math.log2(SCALE_LEAST))

    def forward(self, y: Tensor) -> HyperOutput:
        z = self.h_a(pad_latents(y))
        mu, sigma = self.parameters_of(straight_through_round(z), y.shape[-2:])
        with torch.no_grad():
            rounded_bits = self._rate(y, z, mu, sigma, noisy=False)
        bits = self._rate(y, z, mu, sigma, noisy=True) if torch.is_grad_enabled() else rounded_bits
        y_hat = straight_through_round(y - mu) + mu
        return HyperOutput(y_hat, bits, rounded_bits)

    def _rate(self, y: Tensor, z: Tensor, mu: Tensor, sigma: Tensor, noisy: bool) -> Tensor:
        """Bits by both priors of latents that get noise, or else are rounded."""
        z_bits = _bits(self._z_likelihoods(z, noisy))
        return _bits(self.y_prior(y, sigma, means=mu, training=noisy)[1]) + z_bits

    def _z_likelihoods(self, z: Tensor, noisy: bool) -> Tensor:
        """Those of `z_prior(z)`, which reads its order of axes from a tensor: a GPU would be waited for."""
        prior, by_channel = self.z_prior, z.transpose(0, 1).contiguous()
        values = prior.quantize(by_channel.flatten(1)[:, None], "noise" if noisy else "dequantize")
        found: Tensor = prior.likelihood_lower_bound(prior._likelihood(values)[0])
        return found.view_as(by_channel).transpose(0, 1).contiguous()

    def parameters_of(self, z_hat: Tensor, size: torch.Size) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of each latent, cropped to `size` = (h, w)."""
        height, width = size
        mu = self.h_s_mean(z_hat)[..., :height, :width]
        log_scale = self.log_scale_bound(self.h_s_scale(z_hat))[..., :height, :width]
        return mu, torch.exp2(log_scale.clamp(max=math.log2(SCALE_MOST)))


def pad_latents(y: Tensor) -> Tensor:
    """Repeat y's right and lower edge until h and w are multiples of the hyper-stride."""
    height, width = y.shape[-2:]
    return F.pad(y, (0, -width % HYPER_STRIDE, 0, -height % HYPER_STRIDE), mode="replicate")


def straight_through_round(x: Tensor) -> Tensor:
    """round(x) with the gradient of x."""
    return x + (torch.round(x) - x).detach()


def _bits(likelihoods: Tensor) -> Tensor:
    return -torch.log2(likelihoods).sum()
