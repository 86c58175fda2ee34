"""Overfitting a patch to a sequence: tiles drawn over all of it, some kept apart to see when to stop."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor

from microdose_server.codec.discriminator import Discriminator
from microdose_server.distil.objective import Objective
from microdose_server.distil.patch import Group, Patch, Steps
from microdose_server.distil.tiles import Tile, spread, tiles_of
from microdose_server.training.loop import must_be_finite
from microdose_server.training.lpips import PHASES
from microdose_server.training.muon import balanced, is_matrix

BETAS = (0.9, 0.99)
HELD_OUT = 8
"""One tile of so many is never trained on; of a sequence of fewer than twice as many, none."""
WATCHED_TILES = 8
"""Of the tiles kept apart, those that are looked at."""
SEARCHED_TILES, JUDGED_TILES = 8, 24
"""Tiles spread over a sequence that scales are compared on, and that doses are, with no dose. The first are
among the second, and the features of those stay in memory (`objective.KEPT_REFERENCES`).
"""
CHECK_EVERY, PATIENCE, LEAST_GAIN, MOST_HALVINGS = 40, 2, 0.002, 1
"""Steps between looks at the tiles kept apart; so many without this relative gain halve the learning rate, or
end the phase where that has been done so often."""


@dataclass(frozen=True)
class OverfitRecipe:
    """Learning rates of u by group, the pull of matrices towards zero (relative to the rate, at the price of
    bytes that `rate.USUAL_PRICE` is), and the weights of the terms beside the distortion (see `objective`),
    of which beta's needs the teacher's discriminator.
    """

    rates: Mapping[Group, float] = field(
        default_factory=lambda: {
            Group.GAIN: 0.01,
            Group.BIAS: 0.01,
            Group.KERNEL: 0.01,
            Group.FACTOR: 0.02,
            Group.MATRIX: 0.012,
        }
    )
    pull: float = 0.08
    features: float = 0.1
    beta: float = 0.0
    discriminator: Discriminator | None = None


class Learner:
    """Muon over the matrices among a patch's changes, Adam over the rest, a pull of the many towards zero.

    Its state is `moments`, `born` and `steps`.
    """

    def __init__(self, recipe: OverfitRecipe) -> None:
        self.recipe = recipe
        self.moments: dict[str, tuple[Tensor, Tensor]] = {}
        self.born: dict[str, int] = {}
        """The step before which each change had no gradient yet."""
        self.steps = 0

    @torch.no_grad()
    def step(self, patch: Patch, fraction: float) -> None:
        """Move every change by its gradient, at a fraction of its group's rate, and forget the gradient."""
        self.steps += 1
        found = {
            f"{key}.{part}": (u, delta.group)
            for key, delta in patch.deltas.items()
            for part, u in enumerate(delta.leaves)
        }
        for name, direction in self._directions(found).items():
            u, group = found[name]
            u -= fraction * self.recipe.rates[group] * direction
            u.grad = None
        for u, group in found.values():
            if group is Group.MATRIX:
                pull = fraction * self.recipe.rates[group] * self.recipe.pull
                u.copy_(torch.sign(u) * torch.clamp(u.abs() - pull, min=0.0))

    def sensitivity(self, key: str) -> float:
        """RMS of the recent gradients by one change's u: how much the loss minds an error of it."""
        name = f"{key}.0"
        if name not in self.moments:
            return 0.0
        return float(
            (self.moments[name][1].mean() / (1.0 - BETAS[1] ** (self.steps - self.born[name]))).sqrt()
        )

    def _directions(self, found: Mapping[str, tuple[Tensor, Group]]) -> dict[str, Tensor]:
        """By name, where each u that has a gradient is to move: matrices as Muon does, all at once."""
        made, matrices = dict[str, Tensor](), dict[str, Tensor]()
        for name, (u, group) in found.items():
            if (gradient := u.grad) is None:
                continue
            mean, square = self._moments(name, gradient)
            if group is Group.MATRIX and is_matrix(gradient):
                matrices[name] = gradient.lerp(mean, BETAS[0])
            else:
                age = self.steps - self.born[name]
                corrected = square / (1.0 - BETAS[1] ** age)
                made[name] = mean / (1.0 - BETAS[0] ** age) / (corrected.sqrt() + 1e-8)
        return made | dict(zip(matrices, balanced(list(matrices.values())), strict=True))

    def _moments(self, name: str, gradient: Tensor) -> tuple[Tensor, Tensor]:
        """The running means of a gradient and of its square."""
        if name not in self.moments:
            self.moments[name] = (torch.zeros_like(gradient), torch.zeros_like(gradient))
            self.born[name] = self.steps - 1
        mean, square = self.moments[name]
        mean.lerp_(gradient, 1.0 - BETAS[0])
        square.lerp_(gradient.square(), 1.0 - BETAS[1])
        return mean, square


class Overfit:
    """A patch in training: which tiles come next, and how it scores.

    watched: the tiles kept apart that are looked at; searched, judged: see `JUDGED_TILES`.
    """

    def __init__(self, patch: Patch, objective: Objective, seed: int = 0) -> None:
        self.patch, self.objective = patch, objective
        tiles, rng = tiles_of(objective.targets), np.random.default_rng(seed)
        self.tiles = tiles
        self.judged = spread(tiles, JUDGED_TILES, rng)
        self.searched = spread(self.judged, SEARCHED_TILES, rng)
        self.held_out = spread(tiles, len(tiles) // HELD_OUT, rng) if len(tiles) >= 2 * HELD_OUT else []
        self.watched = spread(self.held_out, WATCHED_TILES, rng)
        apart = set(self.held_out)
        self.trained = [tile for tile in tiles if tile not in apart]
        self.rng = rng
        self.order: list[int] = []

    def draw(self) -> Tile:
        """The next tile: every one once, in random order, then all over again."""
        if not self.order:
            self.order = self.rng.permutation(len(self.trained)).tolist()
        return self.trained[self.order.pop()]

    def step(self, learner: Learner, steps: Steps | None, fraction: float) -> tuple[float, float]:
        """One step of learning on one tile, which LPIPS sees in any phase; (loss, MSE). Raises Diverged."""
        tile = self.draw()
        down, right = self.rng.integers(PHASES, size=2).tolist()
        loss, mse = self.objective.loss(self.patch.weights(steps), tile, (down, right))
        must_be_finite("loss", loss.item(), learner.steps)
        loss.backward()
        learner.step(self.patch, fraction)
        return loss.item(), mse

    @torch.no_grad()
    def score(self, weights: dict[str, Tensor], tiles: Sequence[Tile]) -> float:
        """Mean distortion over tiles, each by its area."""
        losses = [self.objective.distortion(weights, tile).item() for tile in tiles]
        return float(np.average(losses, weights=[tile.area for tile in tiles]))


@dataclass
class Plateau:
    """Watches the score of the tiles kept apart. Where it does not get better, the learning rate halves: the
    noise of a high one hides what is still to be gained. Where that no longer helps either, all is over.
    """

    best: float = math.inf
    stale: int = 0
    halvings: int = 0

    @property
    def fraction(self) -> float:
        """What is left of the learning rate."""
        return 0.5**self.halvings

    def over(self, score: float) -> bool:
        """Take in a score."""
        better = score < (1.0 - LEAST_GAIN) * self.best
        self.best, self.stale = (score, 0) if better else (self.best, self.stale + 1)
        if self.stale >= PATIENCE:
            self.stale, self.halvings = 0, self.halvings + 1
        return self.halvings > MOST_HALVINGS
