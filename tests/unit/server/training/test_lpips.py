"""LPIPS against what the original says of published pictures, and of pictures that are drawn here."""

import pytest
import torch

from microdose_server.training.lpips import LPIPS
from tests import calibration
from tests.waves import CHANGES, waves


@pytest.fixture(scope="module")
def network() -> LPIPS:
    return LPIPS()


def test_agrees_with_the_published_distances(network: LPIPS) -> None:
    distances = [float(network(x, y)) for x, y in calibration.pairs()]
    assert distances == pytest.approx(calibration.LPIPS, abs=6e-5)


# What the package lpips 0.1.4 says of the same pairs, its AlexNet given the same trunk.
@pytest.mark.parametrize(
    ("change", "distance"),
    [("darker", 0.0257357), ("mirrored", 0.4361990), ("flat", 1.0160947)],
)
def test_agrees_with_the_original(network: LPIPS, change: str, distance: float) -> None:
    assert float(network(waves(), CHANGES[change](waves()))) == pytest.approx(distance, rel=1e-3)


def test_one_distance_per_pair(network: LPIPS) -> None:
    x = torch.cat([waves(), waves().flip(2)])
    distances = network(x, waves().expand(2, -1, -1, -1))
    assert distances.shape == (2,)
    assert distances[0] == 0 < distances[1]


def test_embeddings_of_a_target_can_be_kept(network: LPIPS) -> None:
    x, y = waves(), waves().flip(3)
    assert torch.equal(network.between(network.embed(x), network.embed(y)), network(x, y))


def test_an_estimate_is_of_some_pairs_in_a_phase_that_is_drawn(network: LPIPS) -> None:
    x = torch.cat([waves(), waves().flip(3), waves().flip(2)])
    y, cpu = x.roll(1, 0), torch.device("cpu")
    assert torch.equal(network.estimate(x, y, 2, 1, cpu), network(x[:2], y[:2]).mean())
    torch.manual_seed(0)
    down, right = torch.randint(16, (2,)).tolist()
    torch.manual_seed(0)
    assert torch.equal(network.estimate(x, y, 9, 16, cpu), network(x, y, (down, right)).mean())
    assert down != right


def test_gradient_reaches_the_picture_and_nothing_else(network: LPIPS) -> None:
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)  # black: many features are exactly zero
    network(x, waves(64, 64)).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in network.parameters())
