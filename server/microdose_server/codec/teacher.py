"""The teacher: HiFiC's encoder, generator and mean-scale hyperprior (Mentzer et al. 2020, arXiv 2006.09965).

    x --g_a--> y --h_a--> z --round--> z_hat --h_s--> mu, sigma
               |                                       |
               '----------- round(y - mu) + mu <-------'
                                  |
                                y_hat --g_s (head, residual tower, tail)--> x_hat

Pictures are float tensors [N, 3, H, W] in 0..1 with H and W multiples of 16.
"""

import itertools
from typing import NamedTuple

from torch import Tensor, nn
from torch.nn import functional as F

from microdose.segment import STRIDE
from microdose_server.codec.hyperprior import HyperOutput, Hyperprior
from microdose_server.codec.initial import carry_thumbnail, initialise
from microdose_server.codec.layers import (
    PreciseConv2d,
    ResidualBlock,
    ToPicture,
    activation,
    without_autocast,
)
from microdose_server.codec.presets import Preset


class Analysis(nn.Sequential):
    """g_a: [N, 3, H, W] in 0..1 -> y [N, C, H/16, W/16]."""

    def __init__(self, preset: Preset) -> None:
        widths = preset.widths
        layers = [nn.Conv2d(3, widths[0], 7, padding=3), *activation(widths[0], preset.norm)]
        for narrow, wide in itertools.pairwise(widths):
            layers += [nn.Conv2d(narrow, wide, 3, stride=2, padding=1), *activation(wide, preset.norm)]
        super().__init__(*layers, PreciseConv2d(preset.width, preset.latent_channels, 3, padding=1))


class Generator(nn.Module):
    """g_s: y_hat [N, C, h, w] -> x_hat [N, 3, 16h, 16w], nominally in 0..1, not clamped.

    The tower is what MicroRN replaces; a long skip carries the head's output around it.
    """

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        widths = preset.widths[::-1]
        norm_in, norm_out = (
            activation(preset.latent_channels, preset.norm),
            activation(widths[0], preset.norm),
        )
        # HiFiC normalises on both sides of the head but does not rectify there.
        self.head = nn.Sequential(
            *norm_in[:-1], nn.Conv2d(preset.latent_channels, widths[0], 3, padding=1), *norm_out[:-1]
        )
        self.tower = nn.Sequential(
            *(ResidualBlock(widths[0], preset.norm) for _ in range(preset.residual_blocks))
        )
        tail: list[nn.Module] = []
        for wide, narrow in itertools.pairwise(widths):
            tail.append(nn.ConvTranspose2d(wide, narrow, 3, stride=2, padding=1, output_padding=1))
            tail += activation(narrow, preset.norm)
        self.tail = nn.Sequential(*tail, ToPicture(widths[-1]))

    def trunk(self, y_hat: Tensor) -> Tensor:
        """All that happens at 1/16 resolution before the tail: [N, width, h, w]."""
        after_head = self.head(y_hat)
        out: Tensor = self.tower(after_head) + after_head
        return out

    def forward(self, y_hat: Tensor) -> Tensor:
        x_hat: Tensor = self.tail(self.trunk(y_hat))
        return x_hat


class TeacherOutput(NamedTuple):
    """x_hat [N, 3, H, W]; y_hat [N, C, h, w]; `bits` of noisy (differentiable) and rounded latents, as in
    `HyperOutput`.
    """

    x_hat: Tensor
    y_hat: Tensor
    bits: Tensor
    rounded_bits: Tensor


class Teacher(nn.Module):
    """The whole codec but its discriminator."""

    def __init__(self, preset: Preset) -> None:
        super().__init__()
        self.preset = preset
        self.g_a = Analysis(preset)
        self.hyperprior = Hyperprior(preset)
        self.g_s = Generator(preset)
        self.apply(initialise)
        if not preset.norm:
            carry_thumbnail(self.g_a, self.g_s.head, self.g_s.tail)

    def prior_of(self, x: Tensor) -> HyperOutput:
        """All that happens before a picture is painted."""
        y = self.g_a(x)
        # Under autocast too: rounding and counting bits need single precision.
        with without_autocast(x.device):
            output: HyperOutput = self.hyperprior(y)
        return output

    def forward(self, x: Tensor) -> TeacherOutput:
        prior = self.prior_of(x)
        return TeacherOutput(self.g_s(prior.y_hat), prior.y_hat, prior.bits, prior.rounded_bits)


def pad_to_stride(x: Tensor, stride: int = STRIDE) -> Tensor:
    """Repeat the right and lower edge until both sides are multiples of `stride`."""
    height, width = x.shape[-2:]
    return F.pad(x, (0, -width % stride, 0, -height % stride), mode="replicate")
