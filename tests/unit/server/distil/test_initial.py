import numpy as np
import pytest
import torch
from torch.nn import functional as F

from microdose_server.codec.encode import Encoder
from microdose_server.codec.micro import SLOPE
from microdose_server.distil.initial import carry_thumbnail, fit_thumbnail
from microdose_server.training.data import Pixels
from tests.students import LIGHT, light


@pytest.mark.parametrize("name", LIGHT)
def test_a_fresh_student_paints_the_block_means(
    name: str, tiny_encoder: Encoder, photographs: list[Pixels]
) -> None:
    encoded = tiny_encoder.encode(photographs[0][:256, :320])
    y_hat = torch.from_numpy(encoded.y_hat)[None]
    target = torch.tensor(encoded.x_hat).permute(2, 0, 1)[None] / 255.0
    weight, bias = fit_thumbnail(y_hat, target)
    torch.manual_seed(0)
    student = light(name)
    carry_thumbnail(student, weight, bias)
    colours = F.conv2d(y_hat, weight[..., None, None], bias)
    for _ in range(2):  # two activations are on the way; they only matter where a colour is below black
        colours = F.leaky_relu(colours, SLOPE)
    with torch.no_grad():
        x_hat = student(y_hat)
    torch.testing.assert_close(x_hat, torch.kron(colours, torch.ones(1, 1, 16, 16)))
    assert float((colours - F.avg_pool2d(target, 16)).abs().mean()) < 0.08


def test_the_fit_finds_a_linear_mixture() -> None:
    rng = np.random.default_rng(0)
    y_hat = torch.from_numpy(rng.normal(size=(2, 5, 8, 9))).float()
    mixture, shift = torch.from_numpy(rng.normal(size=(3, 5))).float(), torch.tensor([0.1, 0.5, 0.9])
    means = torch.einsum("oc,nchw->nohw", mixture, y_hat) + shift[:, None, None]
    weight, bias = fit_thumbnail(y_hat, torch.kron(means, torch.ones(1, 1, 16, 16)))
    torch.testing.assert_close(weight, mixture, atol=0.01, rtol=0.01)
    torch.testing.assert_close(bias, shift, atol=0.01, rtol=0.01)


def test_channels_that_are_always_zero_get_no_weight() -> None:
    y_hat = torch.randn(1, 4, 8, 8, generator=torch.Generator().manual_seed(0))
    y_hat[:, 2] = 0.0
    x_hat = torch.rand(1, 3, 128, 128, generator=torch.Generator().manual_seed(1))
    weight, bias = fit_thumbnail(y_hat, x_hat)
    assert not bool(weight[:, 2].any())
    assert bool(torch.isfinite(weight).all())
    torch.testing.assert_close(bias, x_hat.mean((0, 2, 3)), atol=0.02, rtol=0.0)
