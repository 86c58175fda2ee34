"""The generic student: distilled once from a teacher, good for any picture, better with a dose.

The teacher labels every crop: its y_hat is the student's input and its picture the target, so no original is
seen and the sharp optimum is within reach without a discriminator (Hinton et al. 2015 for the idea of a
transfer set).
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.func import functional_call

from microdose_server.codec.student import Student, StudentPreset
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.degradation import Degradation
from microdose_server.distil.distance import distortion, reference_of
from microdose_server.distil.initial import carry_thumbnail, fit_thumbnail
from microdose_server.distil.progress import Progress
from microdose_server.training.loop import Budget, must_be_finite
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe

THUMBNAIL_BATCHES = 4


def generic_recipe() -> Recipe:
    """The teacher's schedule with a student's learning rate and no rate term to wait for."""
    return Recipe(learning_rate=1e-3, perceptual_from=0.15, constant_until=0.4, ema_decay=0.995)


@dataclass
class GenericRun:
    """A student in distillation: its weights, v's networks, and the running average of both."""

    teacher: Teacher
    student: Student
    degradation: Degradation
    recipe: Recipe
    averages: dict[str, Tensor] = field(default_factory=dict)

    @classmethod
    def start(cls, teacher: Teacher, preset: StudentPreset, recipe: Recipe, seed: int = 0) -> "GenericRun":
        """A fresh student for a frozen teacher, on the teacher's device."""
        torch.manual_seed(seed)
        student = Student(teacher.preset.latent_channels, preset)
        degradation = Degradation(student)
        device = next(teacher.parameters()).device
        return cls(teacher, student.to(device), degradation.to(device), recipe)

    @torch.no_grad()
    def carry_thumbnail(self, x: Tensor) -> None:
        """Let the fresh student start from a blocky picture, fitted to the teacher's of x [N, 3, H, W]."""
        labelled = self.teacher(x)
        carry_thumbnail(self.student, *fit_thumbnail(labelled.y_hat, labelled.x_hat.clamp(0.0, 1.0)))

    def loss(self, x: Tensor, lpips: LPIPS, progress: float) -> tuple[Tensor, float]:
        """(distortion to the teacher's picture of x [N, 3, H, W], MSE in 0..1)."""
        with torch.no_grad():
            labelled = self.teacher(x)
            target = labelled.x_hat.clamp(0.0, 1.0)
        x_hat = functional_call(self.student, self.degradation(), (labelled.y_hat,))
        mse = torch.mean((x_hat - target) ** 2)
        if progress < self.recipe.perceptual_from:
            return self.recipe.k_m * 255.0**2 * mse, mse.item()
        seen = slice(self.recipe.perceptual_crops)
        both = distortion(x_hat[seen], reference_of(target[seen], lpips), lpips, self.recipe)
        return both, mse.item()

    @torch.no_grad()
    def average(self, step: int) -> None:
        """Take the present weights into the running average."""
        decay = min(self.recipe.ema_decay, step / (step + 10.0))
        for name, value in self._weights():
            if name in self.averages:
                self.averages[name].lerp_(value, 1.0 - decay)
            else:
                self.averages[name] = value.clone()

    @torch.no_grad()
    def folded(self) -> Student:
        """The averaged student with its kernels and gains written in, on the CPU."""
        for name, value in self._weights():
            value.copy_(self.averages.get(name, value))
        self.degradation.fold_into(self.student)
        return self.student.cpu().eval()

    def _weights(self) -> Iterator[tuple[str, Tensor]]:
        for part, module in (("student", self.student), ("degradation", self.degradation)):
            for name, value in module.named_parameters():
                yield f"{part}.{name}", value


def distil_generic(
    run: GenericRun,
    batches: Iterator[Tensor],
    lpips: LPIPS,
    budget: Budget,
    report: Callable[[Progress], None],
) -> Student:
    """Train until the budget is spent and return the folded student. Raises Diverged."""
    optimizer = torch.optim.Adam(
        [*run.student.parameters(), *run.degradation.parameters()], betas=(0.9, 0.99)
    )
    device = next(run.student.parameters()).device
    run.carry_thumbnail(torch.cat([next(batches) for _ in range(THUMBNAIL_BATCHES)]).to(device))
    started, step, seconds = time.monotonic(), 0, 0.0
    while (progress := budget.progress(step, seconds)) < 1.0:
        for group in optimizer.param_groups:
            group["lr"] = run.recipe.learning_rate_at(progress)
        loss, mse = run.loss(next(batches).to(device), lpips, progress)
        must_be_finite("loss", loss, step)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        norm = torch.nn.utils.clip_grad_norm_(run.student.parameters(), run.recipe.clip_norm)
        must_be_finite("gradient", norm, step)
        optimizer.step()
        step, seconds = step + 1, time.monotonic() - started
        run.average(step)
        report(Progress.of(step, budget.progress(step, seconds), loss.item(), mse))
    return run.folded()
