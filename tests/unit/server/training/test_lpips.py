from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file
from torch import Tensor

from microdose.errors import DigestMismatch, NotFound
from microdose_server.training import lpips_weights
from microdose_server.training.lpips import LPIPS


@pytest.fixture(scope="module")
def network() -> LPIPS:
    return LPIPS()


def waves(height: int = 96, width: int = 128) -> Tensor:
    """A picture [1, 3, H, W] in 0..1 that any machine draws alike."""
    y, x = np.mgrid[0:height, 0:width] / 16.0
    planes = np.stack([np.sin(x * y / 4), np.cos(x + y), np.sin(3 * x)]) * 0.5 + 0.5
    return torch.from_numpy(planes).float()[None]


# What the package lpips 0.1.4 says of the same pairs, its AlexNet given the same trunk.
@pytest.mark.parametrize(
    ("change", "distance"),
    [("darker", 0.0257357), ("mirrored", 0.4361990), ("flat", 1.0160947)],
)
def test_agrees_with_the_original(network: LPIPS, change: str, distance: float) -> None:
    x = waves()
    y = {"darker": x * 0.7, "mirrored": x.flip(3), "flat": torch.full_like(x, 0.5)}[change]
    assert float(network(x, y)) == pytest.approx(distance, rel=1e-3)


def test_one_distance_per_pair(network: LPIPS) -> None:
    x = torch.cat([waves(), waves().flip(2)])
    distances = network(x, waves().expand(2, -1, -1, -1))
    assert distances.shape == (2,)
    assert distances[0] == 0 < distances[1]


def test_embeddings_of_a_target_can_be_kept(network: LPIPS) -> None:
    x, y = waves(), waves().flip(3)
    assert torch.equal(network.between(network.embed(x), network.embed(y)), network(x, y))


def test_gradient_reaches_the_picture_and_nothing_else(network: LPIPS) -> None:
    x = torch.zeros(1, 3, 64, 64, requires_grad=True)  # black: many features are exactly zero
    network(x, waves(64, 64)).sum().backward()
    assert x.grad is not None
    assert bool(torch.isfinite(x.grad).all())
    assert float(x.grad.abs().max()) > 0
    assert all(parameter.grad is None for parameter in network.parameters())


def test_missing_weights_name_the_command(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("MICRODOSE_LPIPS", raising=False)
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path))
    with pytest.raises(NotFound, match=r"python -m microdose_server\.training\.lpips_weights"):
        lpips_weights.find_weights()


def test_other_weights_are_refused(tmp_path: Path) -> None:
    tensors = lpips_weights.load_weights(lpips_weights.find_weights())
    tensors["lin0.weight"] = tensors["lin0.weight"] * 2
    save_file(tensors, tmp_path / "other.safetensors")
    with pytest.raises(DigestMismatch):
        LPIPS(tmp_path / "other.safetensors")
