"""MicroRN: the micro residual network of degradation-aware blocks that stands in for a generator's tower.

It follows Helminger et al. (2021), its blocks Wang et al. (DASR, CVPR 2021). A block's depthwise kernels and
gains depend on a vector v only, and v is one constant per sequence, so for decoding they fold into plain
weights.
"""

from collections import OrderedDict

import torch
from torch import Tensor, nn
from torch.nn import functional as F

SLOPE = 0.1
VECTOR = 64


class Gain(nn.Module):
    """One factor per channel, shape [C, 1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.gain = nn.Parameter(torch.ones(channels, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        return x * self.gain


class DegradationAwareConv(nn.Module):
    """conv1x1(LReLU(depthwise(x))) + gain * x, folded."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.pointwise = nn.Conv2d(channels, channels, 1)
        self.skip = Gain(channels)

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.pointwise(F.leaky_relu(self.depthwise(x), SLOPE)) + self.skip(x)
        return out


class MicroBlock(nn.Module):
    """A degradation-aware block: x + conv(LReLU(DA(LReLU(conv(LReLU(DA(x)))))))."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = DegradationAwareConv(channels)
        self.between = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = DegradationAwareConv(channels)
        self.last = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        out = F.leaky_relu(self.first(x), SLOPE)
        out = F.leaky_relu(self.between(out), SLOPE)
        out = F.leaky_relu(self.second(out), SLOPE)
        final: Tensor = self.last(out) + x
        return final


def micro_rn(channels: int, blocks: int) -> nn.Sequential:
    """Blocks 0, 1 ... at the width of what goes in and comes out; a fresh one is the identity."""
    return nn.Sequential(*(MicroBlock(channels) for _ in range(blocks))).apply(initialise)


def projected_micro_rn(outer: int, channels: int, blocks: int) -> nn.Sequential:
    """Blocks of `channels` between 1x1 convolutions from and to `outer` channels; a fresh one gives 0."""
    leave = nn.Conv2d(channels, outer, 1)
    middle = [(str(number), MicroBlock(channels)) for number in range(blocks)]
    parts = [("enter", nn.Conv2d(outer, channels, 1)), *middle, ("leave", leave)]
    network = nn.Sequential(OrderedDict(parts)).apply(initialise)
    nn.init.zeros_(leave.weight)
    return network


def is_micro(name: str) -> bool:
    """Whether a student's parameter of this name is MicroRN's."""
    return name.startswith("micro.")


def initialise(module: nn.Module) -> None:
    """He initialisation; a block starts as the identity."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, a=SLOPE)
        if module.bias is not None:
            nn.init.zeros_(module.bias)
    if isinstance(module, MicroBlock):
        nn.init.zeros_(module.last.weight)
