"""Layers that HiFiC's encoder and generator share.

Under autocast most convolutions compute in bfloat16, which has eight bits: steps of 1/8 between 16 and 32.
What is coded, what is seen and what is averaged over channels is in the weights' own precision there too.
"""

from contextlib import AbstractContextManager, nullcontext

import torch
from torch import Tensor, nn
from torch.nn import functional as F


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """In this context the device computes in the precision of what it is given."""
    if not torch.amp.is_autocast_available(device.type):  # such as meta, which computes shapes
        return nullcontext()
    return torch.autocast(device.type, enabled=False)


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels, like HiFiC: unbiased variance, eps 1e-3, gain and shift."""

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        x = x.to(self.gamma.dtype)
        variance, mean = torch.var_mean(x, dim=1, keepdim=True)
        return self.gamma * (x - mean) * torch.rsqrt(variance + self.eps) + self.beta


def activation(channels: int, norm: bool) -> list[nn.Module]:
    """[ChannelNorm, ReLU], or [ReLU] for teachers without normalisation."""
    # In place: nothing else looks at what is rectified, and at full resolution a copy is memory and time.
    rectifier = nn.ReLU(inplace=True)
    return [ChannelNorm(channels), rectifier] if norm else [rectifier]


class ResidualBlock(nn.Module):
    """x + CN(conv(ReLU(CN(conv(x))))): one step of the residual tower."""

    def __init__(self, channels: int, norm: bool) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.between = nn.Sequential(*activation(channels, norm))
        self.second = nn.Conv2d(channels, channels, 3, padding=1)
        self.norm = ChannelNorm(channels) if norm else nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = x + self.norm(self.second(self.between(self.first(x))))
        return out


class PreciseConv2d(nn.Conv2d):
    """A convolution in its weights' own precision, under autocast too."""

    def forward(self, x: Tensor) -> Tensor:
        with without_autocast(x.device):
            return super().forward(x.to(self.weight.dtype))


class ToPicture(PreciseConv2d):
    """A convolution [N, C, H, W] -> [N, 3, H, W], kernel 7, H and W even, that paints 2x2 pixels at once.

    Three outputs would leave most lanes of a vector idle. Here each of four neighbours has the kernel at its
    place in one of 8x8, a convolution of stride 2 has twelve outputs, and a shuffle lays them out. A third
    more products, all of the added ones by zero, take half the time.
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels, 3, 7, padding=3)

    def forward(self, x: Tensor) -> Tensor:
        if x.device.type != "cpu":  # only a CPU has such lanes
            return super().forward(x)
        assert self.bias is not None
        places = [(right, 1 - right, down, 1 - down) for down in (0, 1) for right in (0, 1)]
        kernels = torch.stack([F.pad(self.weight, place) for place in places], dim=1)
        with without_autocast(x.device):
            x, bias = x.to(self.weight.dtype), self.bias.repeat_interleave(4)
            painted = F.conv2d(x, kernels.flatten(0, 1), bias, stride=2, padding=3)
        return F.pixel_shuffle(painted, 2)
