import pytest
import torch
from torch import nn

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Generator
from microdose_server.evaluate.convolutions import calls_of


def macs(network: nn.Module, x: torch.Tensor) -> int:
    with calls_of([network]) as calls:
        network(x)
    return sum(call.macs() for call in calls)


def test_a_plain_and_a_transposed_convolution() -> None:
    plain = nn.Conv2d(3, 8, 3, stride=2, padding=1)
    up = nn.ConvTranspose2d(8, 3, 3, stride=2, padding=1, output_padding=1)
    with torch.no_grad():
        assert macs(plain, torch.rand(2, 3, 8, 8)) == 2 * 3 * 8 * 9 * 16
        assert macs(up, torch.rand(1, 8, 4, 4)) == 8 * 3 * 9 * 16


def test_a_layer_counts_once_more_for_each_of_its_gradients() -> None:
    layers = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.Conv2d(8, 8, 3, padding=1))
    layers[1].requires_grad_(False)
    # Of the first only the weights have a gradient, of the second only the input.
    assert macs(layers, torch.rand(1, 3, 8, 8)) == 2 * (3 + 8) * 8 * 9 * 64


def test_hifics_generator_costs_what_its_layers_say() -> None:
    """664 thousand per pixel: 261.19 GMAC at 768 x 512."""
    with torch.device("meta"), torch.no_grad():
        found = macs(Generator(PRESETS["hific"]), torch.empty(1, 220, 32, 48))
    assert found / 1e9 == pytest.approx(261.19, abs=0.01)


def test_calls_are_noted_only_inside() -> None:
    layer = nn.Conv2d(3, 4, 1)
    with calls_of([layer]) as calls:
        layer(torch.rand(1, 3, 2, 2))
    layer(torch.rand(1, 3, 2, 2))
    assert len(calls) == 1


@pytest.mark.parametrize("learning", [True, False])
def test_a_call_can_be_timed_by_itself(learning: bool) -> None:
    layer, x = nn.Conv2d(3, 4, 3), torch.rand(1, 3, 8, 8)
    with calls_of([layer]) as calls, torch.set_grad_enabled(learning):
        layer(x)
    assert calls[0].of_weights == learning
    assert calls[0].seconds(rounds=1) > 0.0
    assert layer.weight.grad is None
