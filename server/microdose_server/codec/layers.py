"""Layers that HiFiC's encoder and generator share."""

import torch
from torch import Tensor, nn


class ChannelNorm(nn.Module):
    """Normalise each pixel over its channels, like HiFiC: unbiased variance, eps 1e-3, gain and shift."""

    def __init__(self, channels: int, eps: float = 1e-3) -> None:
        super().__init__()
        self.eps = eps
        self.gamma = nn.Parameter(torch.ones(1, channels, 1, 1))
        self.beta = nn.Parameter(torch.zeros(1, channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
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
