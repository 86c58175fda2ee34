import pytest
import torch
from torch import nn

from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.presets import PRESETS


@pytest.fixture
def critic() -> Discriminator:
    torch.manual_seed(0)
    return Discriminator(latent_channels=16)


def test_hifics_has_as_many_parameters_as_the_paper() -> None:
    critic = Discriminator(PRESETS["hific"].latent_channels)
    assert sum(parameter.numel() for parameter in critic.parameters()) == 2_800_797


@pytest.mark.parametrize(("height", "width"), [(64, 64), (64, 96), (32, 160)])
def test_one_logit_per_patch(critic: Discriminator, height: int, width: int) -> None:
    logits = critic(torch.rand(2, 3, height, width), torch.zeros(2, 16, height // 16, width // 16))
    assert logits.shape == (2, 1, height // 8, width // 8)


def test_latents_matter_but_get_no_gradient(critic: Discriminator) -> None:
    picture = torch.rand(1, 3, 64, 64, requires_grad=True)
    y_hat = torch.randn(1, 16, 4, 4, requires_grad=True)
    logits = critic(picture, y_hat)
    logits.sum().backward()
    assert picture.grad is not None
    assert y_hat.grad is None
    assert bool((critic(picture, y_hat + 3.0) != logits).any())


def test_every_convolution_is_spectrally_normalised(critic: Discriminator) -> None:
    for _ in range(50):  # one power iteration each
        critic(torch.rand(1, 3, 32, 32), torch.randn(1, 16, 2, 2))
    convolutions = [module for module in critic.modules() if isinstance(module, nn.Conv2d)]
    assert len(convolutions) == 6
    for layer in convolutions:
        assert torch.linalg.matrix_norm(layer.weight.flatten(1), 2).item() == pytest.approx(1.0, rel=0.03)


def test_its_state_comes_back_whole(critic: Discriminator) -> None:
    """The estimates of the power iteration included, or a resumed run would differ."""
    critic(torch.rand(1, 3, 32, 32), torch.randn(1, 16, 2, 2))
    other = Discriminator(latent_channels=16)
    other.load_state_dict(critic.state_dict())
    picture, y_hat = torch.rand(1, 3, 32, 32), torch.randn(1, 16, 2, 2)
    assert torch.equal(critic(picture, y_hat), other(picture, y_hat))
