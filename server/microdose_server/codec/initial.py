"""How a fresh teacher starts: variance-preserving weights, and a thumbnail that already gets through.

A random auto-encoder with a stride of 16 first learns a constant, and for thousands of steps little more.
Without normalisation there is a better start: three channels of every layer average (on the way down) or
interpolate (on the way up) red, green and blue, so that step 0 already decodes a blurred picture of the right
colours, and everything else is learned as a correction to it.
"""

import torch
from torch import nn

from microdose_server.codec.layers import ResidualBlock

THUMBNAIL_GAIN = 16.0
"""Latent units per unit of brightness: the thumbnail is then coded in steps of 1/16 from the start."""


def initialise(module: nn.Module) -> None:
    """He initialisation for layers that feed a ReLU; the residual tower starts as the identity."""
    if isinstance(module, nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu")
    if isinstance(module, nn.ConvTranspose2d):
        # Each output of a stride-2 transposed convolution sees a quarter of its taps.
        nn.init.kaiming_normal_(module.weight, nonlinearity="relu", mode="fan_out")
        with torch.no_grad():
            module.weight.mul_(2.0)
    if isinstance(module, nn.Conv2d | nn.ConvTranspose2d) and module.bias is not None:
        nn.init.zeros_(module.bias)
    if isinstance(module, ResidualBlock):
        nn.init.zeros_(module.second.weight)


@torch.no_grad()
def carry_thumbnail(g_a: nn.Sequential, head: nn.Sequential, tail: nn.Sequential) -> None:
    """Make channels 0..2 of every layer of a norm-free encoder and generator carry the picture's colours."""
    first, *strided, last = (layer for layer in g_a if isinstance(layer, nn.Conv2d))
    _carry(first, _centre_tap(7))
    for layer in strided:
        _carry(layer, torch.full((3, 3), 1.0 / 9.0))
    _carry(last, _centre_tap(3) * THUMBNAIL_GAIN)
    into_tower = next(layer for layer in head if isinstance(layer, nn.Conv2d))
    # The long skip adds the head's output to itself.
    _carry(into_tower, _centre_tap(3) / THUMBNAIL_GAIN / 2.0)
    *upward, out = (layer for layer in tail if isinstance(layer, nn.Conv2d | nn.ConvTranspose2d))
    for step in upward:
        _carry(step, torch.outer(torch.tensor([0.5, 1.0, 0.5]), torch.tensor([0.5, 1.0, 0.5])))
    out.weight.mul_(0.01)
    out.weight[:, :3] = 0.0
    for colour in range(3):
        out.weight[colour, colour] = _centre_tap(7)


def _carry(layer: nn.Conv2d | nn.ConvTranspose2d, kernel: torch.Tensor) -> None:
    # A transposed convolution keeps its weights as [in, out, k, k]; a view puts the outputs first for both.
    weight = layer.weight.transpose(0, 1) if isinstance(layer, nn.ConvTranspose2d) else layer.weight
    weight[:3] = 0.0
    for colour in range(3):
        weight[colour, colour] = kernel


def _centre_tap(size: int) -> torch.Tensor:
    kernel = torch.zeros(size, size)
    kernel[size // 2, size // 2] = 1.0
    return kernel
