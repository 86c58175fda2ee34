"""A sequence to be distilled, its targets, and a run about to overfit them."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from torch import Tensor

from microdose.base import LoadedBase
from microdose.dose import DoseKind
from microdose.resources import DoseChoice
from microdose_server.codec.encode import Encoder
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.checkpoint import Keeper
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import Overfit
from microdose_server.distil.patch import Patch
from microdose_server.distil.progress import Progress
from microdose_server.distil.specialise import Budget, Dosed, specialise
from microdose_server.distil.tiles import Target, Tile
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS

STEPS = 24
"""Of a `dose` that is told no budget."""


class Counting(Overfit):
    """Counts the tiles that it scores."""

    scored = 0

    def score(self, weights: dict[str, Tensor], tiles: Sequence[Tile]) -> float:
        self.scored += len(tiles)
        return super().score(weights, tiles)


@pytest.fixture(scope="session")
def targets(tiny_encoder: Encoder, photographs: list[Pixels]) -> list[Target]:
    """Two pictures with the tiny teacher's decoding of them; no side is a multiple of 16."""
    encoded = [
        tiny_encoder.encode(photographs[0][100:230, 40:210]),
        tiny_encoder.encode(photographs[1][:100, :90]),
    ]
    return [Target(each.y_hat, each.x_hat, each.tower) for each in encoded]


@pytest.fixture
def objective(tiny_teacher_base: LoadedBase, targets: list[Target], lpips: LPIPS) -> Objective:
    """The loss of the base's own student on the targets."""
    return Objective(student_from_onnx(tiny_teacher_base.student), targets, lpips, "cpu")


@pytest.fixture
def patch(tiny_teacher_base: LoadedBase) -> Patch:
    """No change yet, on any rung."""
    student = student_from_onnx(tiny_teacher_base.student)
    return Patch(tiny_teacher_base.document, dict(student.named_parameters()))


@pytest.fixture
def run(patch: Patch, objective: Objective) -> Overfit:
    """The base's own student, about to be overfitted with gains."""
    patch.climb(DoseKind.GAINS)
    return Overfit(patch, objective)


def disturb(patch: Patch) -> None:
    """Put every u somewhere, a third of them at zero."""
    rng = np.random.default_rng(0)
    with torch.no_grad():
        for u in patch.leaves().values():
            values = rng.normal(0.0, 0.1, u.shape) * (rng.random(u.shape) < 2 / 3)
            u.copy_(torch.from_numpy(values))


def dose(
    base: LoadedBase,
    targets: list[Target],
    choice: DoseChoice = DoseChoice.AUTO,
    *,
    lmbda: float | None = 1e-4,
    budget: Budget | None = None,
    told: list[Progress] | None = None,
    parents: tuple[bytes, ...] = (),
    most_bytes: int | None = None,
    epoch: int = 5,
    keeper: Keeper | None = None,
) -> Dosed:
    """What is learnt in `STEPS` steps, or whatever `budget` says; its progress goes to `told`."""
    return specialise(
        base,
        targets,
        choice=choice,
        lmbda=lmbda,
        budget=budget or Budget(steps=STEPS),
        epoch=epoch,
        report=(told if told is not None else []).append,
        parents=parents,
        most_bytes=most_bytes,
        keeper=keeper,
    )
