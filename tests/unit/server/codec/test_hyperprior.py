import math

import numpy as np
import pytest
import torch
from torch import Tensor

from microdose_server.codec.encode import Encoder
from microdose_server.codec.hyperprior import (
    SCALE_LEAST,
    SCALE_MOST,
    Hyperprior,
    pad_latents,
    scale_table,
    straight_through_round,
)
from microdose_server.codec.presets import PRESETS


@pytest.fixture(scope="module")
def hyperprior() -> Hyperprior:
    torch.manual_seed(0)
    return Hyperprior(PRESETS["tiny"])


def test_rounding_passes_the_gradient_straight_through() -> None:
    x = torch.tensor([-1.7, -0.5, 0.2, 0.5, 1.5, 3.1], requires_grad=True)
    rounded = straight_through_round(x)
    assert torch.equal(rounded, torch.round(x))
    weights = torch.arange(1.0, 7.0)
    (rounded * weights).sum().backward()
    assert x.grad is not None
    assert torch.equal(x.grad, weights)


def test_scales_are_those_of_hific() -> None:
    scales = scale_table()
    assert len(scales) == 64
    assert scales[0] == pytest.approx(0.11)
    assert scales[-1] == pytest.approx(256.0)
    np.testing.assert_allclose(np.diff(np.log(scales)), math.log(256 / 0.11) / 63)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (4, 8), (5, 7), (6, 3)])
def test_any_size_of_latents(hyperprior: Hyperprior, height: int, width: int) -> None:
    y = torch.randn(2, 16, height, width)
    padded = pad_latents(y)
    assert torch.equal(padded[..., :height, :width], y)
    assert padded.shape[2:] == (-(-height // 4) * 4, -(-width // 4) * 4)
    assert hyperprior.h_a(padded).shape == (2, 16, padded.shape[2] // 4, padded.shape[3] // 4)
    assert hyperprior(y).y_hat.shape == y.shape


@torch.no_grad()
def test_y_hat_is_what_a_decoder_makes_of_the_symbols(hyperprior: Hyperprior) -> None:
    y = 4.0 * torch.randn(1, 16, 6, 6)
    z_hat = torch.round(hyperprior.h_a(pad_latents(y)))
    mu, sigma = hyperprior.parameters_of(z_hat, y.shape[-2:])
    torch.testing.assert_close(hyperprior(y).y_hat, torch.round(y - mu) + mu)
    assert float(sigma.min()) >= SCALE_LEAST - 1e-6
    assert float(sigma.max()) <= SCALE_MOST + 1e-3


def test_scales_stay_in_the_range_of_the_tables(hyperprior: Hyperprior) -> None:
    for value in (-1e4, 1e4):
        extreme = torch.full((1, 16, 2, 2), value)
        with torch.no_grad():
            sigma = hyperprior.parameters_of(extreme, torch.Size((8, 8)))[1]
        assert float(sigma.min()) >= SCALE_LEAST - 1e-6
        assert float(sigma.max()) <= SCALE_MOST + 1e-3


def test_bits_are_those_of_the_gaussian_and_the_factorised_prior(
    shipped_encoder: Encoder, shipped_latents: list[Tensor]
) -> None:
    hyperprior, y = shipped_encoder.teacher.hyperprior, shipped_latents[0]
    with torch.no_grad():
        z_hat = torch.round(hyperprior.h_a(pad_latents(y)))
        mu, sigma = hyperprior.parameters_of(z_hat, y.shape[-2:])
        residual = torch.round(y - mu).abs().double() / sigma
        half = 0.5 / sigma.double()
        mass = 0.5 * (torch.erfc((residual - half) / 2**0.5) - torch.erfc((residual + half) / 2**0.5))
        z_bits = -torch.log2(hyperprior.z_prior(z_hat, training=False)[1]).sum()
        expected = float(-torch.log2(mass.clamp(min=1e-9)).sum() + z_bits)
    output = hyperprior(y)
    assert float(output.rounded_bits) == pytest.approx(expected, rel=1e-3)
    # Noise stands in for rounding in training; near zero it costs more.
    assert 0.9 * expected < float(output.bits) < 2.0 * expected


@pytest.mark.parametrize("noisy", [True, False])
@pytest.mark.parametrize("layout", [torch.contiguous_format, torch.channels_last])
def test_likelihoods_of_z_are_those_that_its_prior_finds(
    hyperprior: Hyperprior, noisy: bool, layout: torch.memory_format
) -> None:
    z = (4.0 * torch.randn(3, 16, 2, 5)).contiguous(memory_format=layout)
    torch.manual_seed(1)
    expected = hyperprior.z_prior(z, training=noisy)[1]
    torch.manual_seed(1)
    assert torch.equal(hyperprior._z_likelihoods(z, noisy), expected)


def test_there_is_no_noise_where_nothing_learns(hyperprior: Hyperprior) -> None:
    y = 4.0 * torch.randn(1, 16, 6, 6)
    before = torch.get_rng_state()
    with torch.no_grad():
        output = hyperprior(y)
    assert torch.equal(output.bits, output.rounded_bits)
    assert torch.equal(torch.get_rng_state(), before)
    noisy = hyperprior(y)
    assert not torch.equal(noisy.bits, noisy.rounded_bits)
    assert torch.equal(noisy.rounded_bits, output.rounded_bits)
