from collections.abc import Callable

import pytest
import torch
from torch import nn

from microdose_server.codec.layers import ChannelNorm, PreciseConv2d, ResidualBlock, ToPicture


def test_channel_norm_follows_the_formula_of_hific() -> None:
    torch.manual_seed(0)
    layer, x = ChannelNorm(5), torch.randn(2, 5, 3, 4) * 3.0 + 1.0
    with torch.no_grad():
        layer.gamma.copy_(torch.randn(1, 5, 1, 1))
        layer.beta.copy_(torch.randn(1, 5, 1, 1))
    mean = x.sum(1, keepdim=True) / 5
    variance = ((x - mean) ** 2).sum(1, keepdim=True) / (5 - 1)
    expected = layer.gamma * (x - mean) / (variance + 1e-3).sqrt() + layer.beta
    torch.testing.assert_close(layer(x), expected)


def test_channel_norm_of_equal_channels_is_its_shift() -> None:
    x = torch.full((1, 4, 2, 2), 7.0)
    assert torch.equal(ChannelNorm(4)(x), torch.zeros_like(x))


def test_residual_block_adds_to_its_input() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 6, 5, 5)
    for norm in (False, True):
        block = ResidualBlock(6, norm)
        with torch.no_grad():
            block.second.weight.zero_()
            block.second.bias.zero_()  # type: ignore[union-attr]
        assert torch.equal(block(x), x)


def test_a_picture_is_that_of_a_plain_convolution_and_so_are_the_gradients() -> None:
    torch.manual_seed(0)
    layer, plain = ToPicture(5).double(), nn.Conv2d(5, 3, 7, padding=3).double()
    plain.load_state_dict(layer.state_dict())
    x = torch.randn(2, 5, 12, 16, dtype=torch.float64, requires_grad=True)
    picture, expected = layer(x), plain(x)
    torch.testing.assert_close(picture, expected)
    upstream = torch.randn_like(expected)
    found = torch.autograd.grad(picture, (x, *layer.parameters()), upstream)
    torch.testing.assert_close(found, torch.autograd.grad(expected, (x, *plain.parameters()), upstream))


@pytest.mark.parametrize("channels", [8, 24])
@pytest.mark.parametrize("bfloat16", [False, True])
@pytest.mark.parametrize("kind", [ToPicture, lambda channels: PreciseConv2d(channels, 3, 7, padding=3)])
def test_the_ends_of_a_network_convolve_in_single_precision(
    kind: Callable[[int], nn.Conv2d], channels: int, bfloat16: bool
) -> None:
    torch.manual_seed(0)
    layer, plain = kind(channels), nn.Conv2d(channels, 3, 7, padding=3)
    plain.load_state_dict(layer.state_dict())
    x = torch.rand(1, channels, 64, 64)
    x = x.bfloat16() if bfloat16 else x
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16, enabled=bfloat16):
        made = layer(x)
    torch.testing.assert_close(made, plain(x.float()))


def test_a_norm_of_what_autocast_made_is_computed_in_single_precision() -> None:
    torch.manual_seed(0)
    layer, x = ChannelNorm(6), (100.0 + torch.randn(2, 6, 3, 4)).bfloat16()
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(layer(x), layer(x.float()))
