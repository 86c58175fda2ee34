"""HiFiC's critic: a PatchGAN that sees a picture together with its latents (Mentzer et al. 2020, appendix A).

    y_hat (no gradient) --conv3x3--> 12 channels --nearest, x16--+
                                                                 +--> 64 --> 128 --> 256 --> 512 --> 1
    picture -----------------------------------------------------+     4x4, stride 2     |  4x4, stride 1

Every convolution is spectrally normalised (Miyato et al. 2018). It trains a teacher, and stays on
the server: doses can be trained against it as well.
"""

import itertools

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.parametrizations import spectral_norm

from microdose.segment import STRIDE

CONDITION_CHANNELS = 12
WIDTHS = (64, 128, 256)
LAST_WIDTH = 512
SLOPE = 0.2


class Discriminator(nn.Module):
    """Pictures [N, 3, H, W] in 0..1 and y_hat [N, C, H/16, W/16] -> logits [N, 1, H/8, W/8].

    A logit above 0 calls its patch real.
    """

    def __init__(self, latent_channels: int) -> None:
        super().__init__()
        self.condition = nn.Sequential(
            spectral_norm(nn.Conv2d(latent_channels, CONDITION_CHANNELS, 3, padding=1)), nn.LeakyReLU(SLOPE)
        )
        layers: list[nn.Module] = []
        for narrow, wide in itertools.pairwise((3 + CONDITION_CHANNELS, *WIDTHS)):
            layers += [spectral_norm(nn.Conv2d(narrow, wide, 4, stride=2, padding=1)), nn.LeakyReLU(SLOPE)]
        layers += [*_same(WIDTHS[-1], LAST_WIDTH), nn.LeakyReLU(SLOPE), *_same(LAST_WIDTH, 1)]
        self.judge = nn.Sequential(*layers)

    def forward(self, picture: Tensor, y_hat: Tensor) -> Tensor:
        condition = F.interpolate(self.condition(y_hat.detach()), scale_factor=float(STRIDE))
        logits: Tensor = self.judge(torch.cat([picture, condition], dim=1))
        return logits


def _same(channels: int, out: int) -> tuple[nn.Module, nn.Module]:
    # An even kernel without stride keeps the size only if one side gets more padding than the other.
    return nn.ZeroPad2d((1, 2, 1, 2)), spectral_norm(nn.Conv2d(channels, out, 4))
