"""The training loop of stage 1: batches in, checkpoints and a curve out."""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from microdose.errors import Diverged
from microdose_server.codec.teacher import Teacher
from microdose_server.training.checkpoint import RunState, save_state
from microdose_server.training.data import Pixels, crops
from microdose_server.training.lpips import LPIPS
from microdose_server.training.objective import StageOneLoss, stage_one_loss
from microdose_server.training.recipe import Recipe


@dataclass(frozen=True)
class Budget:
    """When a run ends, counted from its first step over all resumptions: by steps, or else by hours."""

    steps: int | None = None
    hours: float | None = None

    def progress(self, step: int, seconds: float) -> float:
        """Fraction of the run that is done, in 0..1."""
        if self.steps is not None:
            return min(1.0, step / self.steps) if self.steps > 0 else 1.0
        if self.hours is not None:
            return min(1.0, seconds / (self.hours * 3600.0)) if self.hours > 0.0 else 1.0
        raise ValueError("a budget needs steps or hours")


class StepReport(NamedTuple):
    """One line of the curve. ``psnr`` in dB over the batch, ``loss`` in the recipe's units."""

    step: int
    seconds: float
    progress: float
    loss: float
    bpp: float
    psnr: float
    lpips: float
    learning_rate: float


def must_be_finite(what: str, value: Tensor, step: int) -> None:
    """Raise Diverged for a scalar that is infinite or not a number."""
    if not math.isfinite(value.item()):
        raise Diverged(f"the {what} is {value.item()} at step {step}; go on with a lower learning rate")


class Run:
    """A teacher in training: model, average weights, optimiser and random state."""

    def __init__(self, teacher: Teacher, recipe: Recipe, device: str, seed: int = 0) -> None:
        self.teacher = teacher.to(device)
        self.recipe = recipe
        self.device = device
        self.ema = {name: value.detach().clone() for name, value in teacher.state_dict().items()}
        trainable = [parameter for parameter in teacher.parameters() if parameter.requires_grad]
        self.optimizer = torch.optim.Adam(trainable, lr=recipe.learning_rate, betas=(0.9, 0.99))
        self.rng = np.random.default_rng(seed)
        torch.manual_seed(seed)
        self.step = 0
        self.seconds = 0.0

    def advance(self, x: Tensor, lpips: LPIPS, progress: float) -> StageOneLoss:
        """One optimiser step on the batch x [N, 3, H, W] in 0..1."""
        rate = self.recipe.learning_rate_at(progress)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        result = stage_one_loss(self.teacher, lpips, x.to(self.device), self.recipe, progress)
        must_be_finite("loss", result.loss, self.step)
        self.optimizer.zero_grad(set_to_none=True)
        result.loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(self.teacher.parameters(), self.recipe.clip_norm)
        # A finite loss may have a gradient that is not: found now, it reaches neither weights nor checkpoint.
        must_be_finite("gradient", norm, self.step)
        self.optimizer.step()
        self.step += 1
        self._average()
        return result

    @torch.no_grad()
    def _average(self) -> None:
        # Early on, an average over a long past would be an average over noise.
        decay = min(self.recipe.ema_decay, self.step / (self.step + 10.0))
        for name, value in self.teacher.state_dict().items():
            if value.is_floating_point():
                self.ema[name].lerp_(value, 1.0 - decay)

    def state(self) -> RunState:
        """A snapshot for ``save_state``."""
        return RunState(
            self.teacher.preset.name,
            self.teacher.state_dict(),
            self.ema,
            self.optimizer.state_dict(),
            self.step,
            self.seconds,
            torch.get_rng_state(),
            self.rng.bit_generator.state,  # type: ignore[arg-type]
        )

    def restore(self, state: RunState) -> None:
        """Go on exactly where ``state`` was taken."""
        self.teacher.load_state_dict(state.model)
        for name, value in state.ema.items():
            self.ema[name].copy_(value)
        self.optimizer.load_state_dict(state.optimizer)
        self.step, self.seconds = state.step, state.seconds
        torch.set_rng_state(state.torch_rng)
        self.rng.bit_generator.state = state.data_rng


def train(
    run: Run,
    photos: list[Pixels],
    lpips: LPIPS,
    budget: Budget,
    checkpoint: Path,
    report: Callable[[StepReport], None],
    save_every_s: float = 300.0,
) -> None:
    """Train until the budget is spent; save now and then and at the end; report every step."""
    batches = crops(photos, run.recipe.batch, run.recipe.crop, run.rng)
    started, before = time.monotonic(), run.seconds
    saved = started
    while (progress := budget.progress(run.step, run.seconds)) < 1.0:
        result = run.advance(next(batches), lpips, progress)
        now = time.monotonic()
        run.seconds = before + now - started
        report(_report(run, result, progress))
        if now - saved > save_every_s:
            save_state(run.state(), checkpoint)
            saved = now
    save_state(run.state(), checkpoint)


def _report(run: Run, result: StageOneLoss, progress: float) -> StepReport:
    psnr = -10.0 * math.log10(max(result.mse, 1e-10))
    rate = run.recipe.learning_rate_at(progress)
    return StepReport(
        run.step, run.seconds, progress, result.loss.item(), result.bpp, psnr, result.lpips, rate
    )
