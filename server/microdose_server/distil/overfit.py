"""Overfitting MicroRN to one sequence, sparsely and on the grid that will be sent.

Every dosed tensor w becomes w + rms(w) * u, with u = 0 at the start: one learning rate and one step then fit
tensors of any size. After each step u is pulled towards zero by a fixed share of the learning rate (a
proximal L1 step), so only weights whose gradient keeps its sign move away from zero, and the rest cost
nothing to send. From ``grid`` on, u is rounded to multiples of that step in the forward pass
(straight-through), so that training ends where decoding begins.
"""

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.func import functional_call

from microdose.changes import code_of, step_of
from microdose_server.codec.student import Student, is_dosable
from microdose_server.distil.distance import Reference, distortion, reference_of
from microdose_server.distil.progress import Progress
from microdose_server.distil.tiles import Target, Tile, cut, tiles_of
from microdose_server.training.loop import must_be_finite
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe

ROUNDING = 1.0 / 3.0
KEPT_REFERENCES = 160
"""Tiles whose LPIPS features stay in memory: by their shapes, 2.6 MB for a tile of 256 x 256 pixels."""


@dataclass(frozen=True)
class Budget:
    """How long one sequence may be distilled: steps, and seconds if given; whichever ends first."""

    steps: int = 400
    seconds: float | None = None


@dataclass(frozen=True)
class OverfitRecipe:
    """Learning rate and pull on u (relative weights), and tiles per step."""

    learning_rate: float = 0.02
    pull: float = 0.45
    tiles_per_step: int = 2


class Overfit:
    """A student with the relative change u of each dosable tensor, and how it scores on a sequence."""

    def __init__(
        self, student: Student, targets: Sequence[Target], lpips: LPIPS, device: str, seed: int = 0
    ) -> None:
        self.student = student.requires_grad_(False).to(device)
        self.targets = targets
        self.lpips = lpips.to(device)
        self.device = device
        self.distance = Recipe()
        self._references: dict[Tile, Reference] = {}
        self.rng = np.random.default_rng(seed)
        self.tiles = tiles_of(targets)
        dosable = {name: value for name, value in student.named_parameters() if is_dosable(name)}
        self.generic = {name: value.detach().clone() for name, value in dosable.items()}
        self.rms = {name: _rms(value) for name, value in self.generic.items()}
        self.u = {name: torch.zeros_like(value, requires_grad=True) for name, value in self.generic.items()}

    def weights(self, grid: float | None) -> dict[str, Tensor]:
        """The dosed tensors, on the grid if one is given."""
        dosed = {}
        for name, u in self.u.items():
            moved = u if grid is None else u + (on_grid(u, grid) - u).detach()
            dosed[name] = self.generic[name] + self.rms[name] * moved
        return dosed

    def loss(self, weights: dict[str, Tensor], tile: Tile) -> tuple[Tensor, float]:
        """(distortion on a tile, its MSE in 0..1)."""
        y_hat, target, inside = cut(self.targets[tile.picture], tile)
        made = functional_call(self.student, weights, (y_hat.to(self.device),))
        x_hat = made[:, :, inside[0], inside[1]]
        reference = self._reference(tile, target)
        mse = torch.mean((x_hat.detach() - reference.pixels) ** 2).item()
        return distortion(x_hat, reference, self.lpips, self.distance), mse

    def _reference(self, tile: Tile, target: Tensor) -> Reference:
        if tile not in self._references:
            found = reference_of(target.to(self.device), self.lpips)
            if len(self._references) >= KEPT_REFERENCES:
                return found
            self._references[tile] = found
        return self._references[tile]

    @torch.no_grad()
    def score(self, weights: dict[str, Tensor], tiles: Sequence[Tile]) -> float:
        """Mean distortion over tiles, each by its area."""
        areas = [(tile.bottom - tile.top) * (tile.right - tile.left) for tile in tiles]
        losses = [self.loss(weights, tile)[0].item() for tile in tiles]
        return float(np.average(losses, weights=areas))

    def sample(self, count: int) -> list[Tile]:
        """Tiles spread evenly over the sequence, the same at every call."""
        if count >= len(self.tiles):
            return list(self.tiles)
        return [self.tiles[int((k + 0.5) * len(self.tiles) / count)] for k in range(count)]


def _rms(weights: Tensor) -> float:
    """Near enough to the RMS, and such that every grid's step can be coded."""
    return step_of(code_of(0.01 * (float(weights.square().mean().sqrt()) or 1.0))) / 0.01


def overfit(
    run: Overfit,
    recipe: OverfitRecipe,
    span: tuple[float, float],
    budget: Budget,
    grid: float | None,
    report: Callable[[Progress], None],
) -> None:
    """Train ``run.u`` over a part of the budget's steps, at a rate that falls to zero.

    ``span``: begin and end of the part, as fractions. ``grid``: as for ``Overfit.weights``.
    """
    optimizer = torch.optim.Adam(run.u.values(), betas=(0.9, 0.99))
    first, last = (round(end * budget.steps) for end in span)
    seconds = None if budget.seconds is None else (span[1] - span[0]) * budget.seconds
    started, step = time.monotonic(), first
    while (done := _done(step - first, last - first, time.monotonic() - started, seconds)) < 1.0:
        rate = recipe.learning_rate * 0.5 * (1.0 + math.cos(math.pi * done))
        for group in optimizer.param_groups:
            group["lr"] = rate
        loss, mse = _step(run, recipe, grid)
        must_be_finite("loss", torch.tensor(loss), step)
        optimizer.step()
        _pull_to_zero(run.u, rate * recipe.pull)
        step += 1
        report(Progress.of(step, step / budget.steps, loss, mse))


def _done(steps: int, most_steps: int, seconds: float, most_seconds: float | None) -> float:
    """The share of a part that is over, by steps or by time, whichever is further.

    So the rate falls to zero even where the time ends first.
    """
    by_steps = steps / most_steps if most_steps else 1.0
    return by_steps if most_seconds is None else max(by_steps, seconds / most_seconds)


def _step(run: Overfit, recipe: OverfitRecipe, grid: float | None) -> tuple[float, float]:
    """Accumulate the gradient of a few random tiles; (mean loss, mean MSE)."""
    for u in run.u.values():
        u.grad = None
    chosen = run.rng.choice(len(run.tiles), size=recipe.tiles_per_step)
    losses, errors = [], []
    for number in chosen:
        loss, mse = run.loss(run.weights(grid), run.tiles[number])
        (loss / len(chosen)).backward()
        losses.append(loss.item())
        errors.append(mse)
    return float(np.mean(losses)), float(np.mean(errors))


def on_grid(u: Tensor, grid: float) -> Tensor:
    """u rounded to multiples of ``grid``, towards zero up to two thirds of a step: zeros are the cheapest."""
    return grid * torch.sign(u) * torch.floor(u.abs() / grid + ROUNDING)


@torch.no_grad()
def _pull_to_zero(changes: dict[str, Tensor], amount: float) -> None:
    for u in changes.values():
        u.copy_(torch.sign(u) * torch.clamp(u.abs() - amount, min=0.0))
