from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from microdose.errors import DigestMismatch, NotFound
from microdose_server.evaluate import dists_weights
from microdose_server.evaluate.dists import DISTS


@pytest.fixture(scope="module")
def network() -> DISTS:
    return DISTS()


def waves(height: int = 96, width: int = 128) -> Tensor:
    """A picture [1, 3, H, W] in 0..1 that any machine draws alike."""
    y, x = np.mgrid[0:height, 0:width] / 16.0
    planes = np.stack([np.sin(x * y / 4), np.cos(x + y), np.sin(3 * x)]) * 0.5 + 0.5
    return torch.from_numpy(planes).float()[None]


# What the package DISTS-pytorch 0.1 says of the same pairs, given the same trunk.
@pytest.mark.parametrize(
    ("change", "distance"),
    [("darker", 0.1172625), ("mirrored", 0.2857874), ("flat", 0.6073856)],
)
def test_agrees_with_the_original(network: DISTS, change: str, distance: float) -> None:
    x = waves()
    y = {"darker": x * 0.7, "mirrored": x.flip(3), "flat": torch.full_like(x, 0.5)}[change]
    assert float(network(x, y)) == pytest.approx(distance, abs=1e-4)


def test_one_distance_per_pair(network: DISTS) -> None:
    x = torch.cat([waves(32, 48), waves(32, 48).flip(2)])
    distances = network(x, waves(32, 48).expand(2, -1, -1, -1))
    assert distances.shape == (2,)
    assert float(distances[0]) == pytest.approx(0.0, abs=1e-5)
    assert float(distances[1]) > 0.01


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match=r"python -m microdose_server\.evaluate\.dists_weights"):
        dists_weights.find_weights()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    tensors = dists_weights.load_weights(dists_weights.find_weights())
    tensors["alpha"] = tensors["alpha"] * 2
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(DigestMismatch):
        DISTS(tmp_path / "other.safetensors")
