"""A sequence to be distilled, and its targets."""

import numpy as np
import pytest
import torch

from microdose.base import LoadedBase
from microdose_server.codec.encode import Encoder
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.overfit import Overfit
from microdose_server.distil.tiles import Target
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS


@pytest.fixture(scope="session")
def targets(tiny_encoder: Encoder, photographs: list[Pixels]) -> list[Target]:
    """Two pictures with the tiny teacher's decoding of them; no side is a multiple of 16."""
    encoded = [
        tiny_encoder.encode(photographs[0][100:230, 40:210]),
        tiny_encoder.encode(photographs[1][:100, :90]),
    ]
    return [Target(each.y_hat, each.x_hat) for each in encoded]


@pytest.fixture
def run(tiny_teacher_base: LoadedBase, targets: list[Target], lpips: LPIPS) -> Overfit:
    """The base's own student, about to be overfitted."""
    return Overfit(student_from_onnx(tiny_teacher_base.student), targets, lpips, "cpu")


@pytest.fixture
def disturbed(run: Overfit) -> Overfit:
    """A run whose u is somewhere, on no grid, a third of it at zero."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for u in run.u.values():
            values = rng.normal(0.0, 0.2, u.shape) * (rng.random(u.shape) < 2 / 3)
            u.copy_(torch.from_numpy(values))
    return run
