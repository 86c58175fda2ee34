"""The generic student: distilled once from a teacher, good for any picture, better with a dose.

The teacher labels every crop: its y_hat is the student's input and its picture the target, so no original is
needed and the sharp optimum is within reach without a discriminator (Hinton et al. 2015 for the idea of a
transfer set). An `Aim` can mix the originals in, or match the teacher's features as well.
"""

import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

from microdose.errors import UnsupportedVersion
from microdose_server.codec.student import LightStudent, Student, StudentPreset, build_student
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.degradation import Degradation
from microdose_server.distil.distance import DISTANCE
from microdose_server.distil.initial import carry_thumbnail, fit_thumbnail
from microdose_server.distil.progress import Progress
from microdose_server.training.loop import Budget, must_be_finite
from microdose_server.training.lpips import LPIPS
from microdose_server.training.muon import Muon
from microdose_server.training.recipe import Recipe

THUMBNAIL_BATCHES = 4
CHECKPOINT_S = 120.0


def generic_recipe() -> Recipe:
    """A dose's distance, and a teacher's schedule with a student's learning rate; no rate to wait for."""
    return replace(DISTANCE, learning_rate=2e-3, perceptual_from=0.15, constant_until=0.4, ema_decay=0.995)


@dataclass(frozen=True)
class Aim:
    """What a student is to match.

    `alpha`: the teacher's share of the target, in 0..1; the rest is the original's (0: no teacher at all).
    `features`: weight of the squared error, in units of their variance, between the teacher's features
    after its tower and a linear image of the student's after MicroRN (FitNets, Romero et al. 2015).
    """

    alpha: float = 1.0
    features: float = 0.0


class _Inside(nn.Module):
    """A student that shows its trunk's features, brought to the teacher's width, beside its picture."""

    def __init__(self, student: Student, teacher_width: int) -> None:
        super().__init__()
        self.student = student
        self.adapter = nn.Conv2d(student.width, teacher_width, 1)

    def forward(self, y_hat: Tensor) -> tuple[Tensor, Tensor]:
        trunk = self.student.trunk(y_hat)
        return self.student.paint(trunk), self.adapter(trunk)


@dataclass
class GenericRun:
    """A student in distillation: its weights, v's networks, and the running average of both."""

    teacher: Teacher
    student: Student
    degradation: Degradation
    recipe: Recipe
    aim: Aim = field(default_factory=Aim)
    averages: dict[str, Tensor] = field(default_factory=dict)
    blank: bool = True
    """Whether the student has yet to be given a thumbnail to start from."""
    step: int = 0
    seconds: float = 0.0

    def __post_init__(self) -> None:
        device = next(self.teacher.parameters()).device
        self._inside = _Inside(self.student, self.teacher.preset.width).to(device)
        self.degradation.to(device)
        weights = (*self._inside.parameters(), *self.degradation.parameters())
        self.optimizer = Muon((each for each in weights if each.requires_grad), lr=self.recipe.learning_rate)

    @classmethod
    def start(
        cls, teacher: Teacher, preset: StudentPreset, recipe: Recipe, seed: int = 0, aim: Aim | None = None
    ) -> "GenericRun":
        """A fresh student for a frozen teacher, on the teacher's device."""
        torch.manual_seed(seed)
        student = build_student(preset, teacher.g_s)
        return cls(teacher, student, Degradation(student), recipe, aim or Aim())

    @torch.no_grad()
    def carry_thumbnail(self, x: Tensor) -> None:
        """Let a fresh light student start from a blocky picture, fitted to its aim on x [N, 3, H, W].

        The paper's form needs none: it starts from what the teacher paints without its tower.
        """
        if isinstance(self.student, LightStudent):
            labelled = self.teacher(x)
            goal = torch.lerp(x, labelled.x_hat.clamp(0.0, 1.0), self.aim.alpha)
            carry_thumbnail(self.student, *fit_thumbnail(labelled.y_hat, goal))

    @torch.no_grad()
    def take_up(self, student: Student) -> None:
        """Start from a student of another teacher, whatever of it is its own to learn.

        Raises UnsupportedVersion for one of another shape.
        """
        ours, theirs = dict(self.student.named_parameters()), dict(student.named_parameters())
        if {name: value.shape for name, value in ours.items()} != {
            name: value.shape for name, value in theirs.items()
        }:
            raise UnsupportedVersion(
                "the student to start from has another shape: start from one of the same"
            )
        for name, value in ours.items():
            if value.requires_grad:
                value.copy_(theirs[name])
        self.degradation.reproduce(student)
        self.recipe, self.blank = self.recipe.continued(), False

    def loss(self, x: Tensor, lpips: LPIPS, progress: float) -> tuple[Tensor, float]:
        """(what is minimised on x [N, 3, H, W], MSE to the teacher's picture of it in 0..1)."""
        with torch.no_grad():
            y_hat = self.teacher.hyperprior(self.teacher.g_a(x)).y_hat
            trunk = self.teacher.g_s.trunk(y_hat)
            target = self.teacher.g_s.tail(trunk).clamp(0.0, 1.0)
        decided = {f"student.{name}": value for name, value in self.degradation().items()}
        x_hat, features = functional_call(self._inside, decided, (y_hat,))
        shares = ((self.aim.alpha, target), (1.0 - self.aim.alpha, x))
        total = sum(share * self._distance(x_hat, goal, lpips, progress) for share, goal in shares if share)
        if self.aim.features:
            total = total + self.aim.features * torch.mean((features - trunk) ** 2) / trunk.var()
        assert isinstance(total, Tensor)
        return total, torch.mean((x_hat.detach() - target) ** 2).item()

    def _distance(self, x_hat: Tensor, goal: Tensor, lpips: LPIPS, progress: float) -> Tensor:
        """MSE of all crops, and LPIPS, once it joins, of some of them."""
        recipe = self.recipe
        total = recipe.k_m * 255.0**2 * torch.mean((x_hat - goal) ** 2)
        if progress < recipe.perceptual_from:
            return total
        # By the CPU's chance: for its own, a GPU would be waited for.
        crops, phases, chance = recipe.perceptual_crops, recipe.perceptual_phases, torch.device("cpu")
        return total + recipe.k_p * lpips.estimate(x_hat, goal, crops, phases, chance)

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

    def state(self) -> dict[str, Any]:
        """All that `restore` needs to go on from here."""
        return {
            "inside": self._inside.state_dict(),
            "degradation": self.degradation.state_dict(),
            "averages": self.averages,
            "optimizer": self.optimizer.state_dict(),
            "step": self.step,
            "seconds": self.seconds,
            "recipe": asdict(self.recipe),
            "aim": asdict(self.aim),
        }

    def restore(self, state: dict[str, Any]) -> None:
        """Go on from a saved state. Raises RuntimeError for one of another student or teacher."""
        self._inside.load_state_dict(state["inside"])
        self.degradation.load_state_dict(state["degradation"])
        self.optimizer.load_state_dict(state["optimizer"])
        device = next(self.student.parameters()).device
        self.averages = {name: value.to(device) for name, value in state["averages"].items()}
        self.step, self.seconds = state["step"], state["seconds"]

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
    save: Callable[[GenericRun], None] = lambda run: None,
    stop: Callable[[], bool] = lambda: False,
) -> Student:
    """Train until the budget is spent and return the folded student; `save` is called every two minutes.

    Raises Diverged; KeyboardInterrupt where `stop` says so before the end, after what there is was saved.
    """
    device = next(run.student.parameters()).device
    if run.step == 0 and run.blank:
        run.carry_thumbnail(torch.cat([next(batches) for _ in range(THUMBNAIL_BATCHES)]).to(device))
    began, saved = time.monotonic() - run.seconds, run.seconds
    while (progress := budget.progress(run.step, run.seconds)) < 1.0:
        if stop():
            save(run)
            raise KeyboardInterrupt
        loss, mse = _step(run, next(batches).to(device), lpips, progress)
        run.step, run.seconds = run.step + 1, time.monotonic() - began
        run.average(run.step)
        report(Progress.of(run.step, budget.progress(run.step, run.seconds), loss, mse))
        if run.seconds - saved > CHECKPOINT_S:
            save(run)
            saved = run.seconds
    return run.folded()


def _step(run: GenericRun, x: Tensor, lpips: LPIPS, progress: float) -> tuple[float, float]:
    """One step down the gradient; (loss, MSE)."""
    for group in run.optimizer.param_groups:
        group["lr"] = run.recipe.learning_rate_at(progress)
    loss, mse = run.loss(x, lpips, progress)
    must_be_finite("loss", loss.item(), run.step)
    run.optimizer.zero_grad(set_to_none=True)
    loss.backward()
    trained = [parameter for group in run.optimizer.param_groups for parameter in group["params"]]
    norm = torch.nn.utils.clip_grad_norm_(trained, run.recipe.clip_norm)
    must_be_finite("gradient", norm.item(), run.step)
    run.optimizer.step()
    return loss.item(), mse
