import pytest
import torch

from microdose_server.evaluate.dists import DISTS
from tests import calibration
from tests.waves import CHANGES, waves


@pytest.fixture(scope="module")
def network() -> DISTS:
    return DISTS()


def test_agrees_with_the_published_distances(network: DISTS) -> None:
    distances = [float(network(x, y)) for x, y in calibration.pairs()]
    assert distances == pytest.approx(calibration.DISTS, abs=6e-5)


# What the package DISTS-pytorch 0.1 says of the same pairs, given the same trunk.
@pytest.mark.parametrize(
    ("change", "distance"),
    [("darker", 0.1172625), ("mirrored", 0.2857874), ("flat", 0.6073856)],
)
def test_agrees_with_the_original(network: DISTS, change: str, distance: float) -> None:
    assert float(network(waves(), CHANGES[change](waves()))) == pytest.approx(distance, abs=1e-4)


def test_one_distance_per_pair(network: DISTS) -> None:
    x = torch.cat([waves(32, 48), waves(32, 48).flip(2)])
    distances = network(x, waves(32, 48).expand(2, -1, -1, -1))
    assert distances.shape == (2,)
    assert float(distances[0]) == pytest.approx(0.0, abs=1e-5)
    assert float(distances[1]) > 0.01
