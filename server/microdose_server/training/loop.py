"""The training loop of both stages: batches in, checkpoints and a curve out."""

import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from microdose.errors import BadPicture, BadUpload, Diverged, UnsupportedVersion
from microdose_server.codec.fill import fill
from microdose_server.codec.teacher import Teacher
from microdose_server.training.batches import Batches
from microdose_server.training.checkpoint import RunState, save_state
from microdose_server.training.data import Pixels, identity_of
from microdose_server.training.lpips import LPIPS
from microdose_server.training.muon import Muon
from microdose_server.training.noise import noise_state, restore_noise, seed_noise
from microdose_server.training.objective import TeacherLoss, stage_one_loss
from microdose_server.training.peers import ALONE, Peers
from microdose_server.training.precision import as_placed, placed
from microdose_server.training.psnr import psnr_of
from microdose_server.training.recipe import RATE_BATCHES, Recipe


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
    """One line of the curve. `psnr` in dB over the batch, `loss` in the recipe's units; stage 1 has no
    `adversarial` and `discriminator` loss. `waiting` is the share of the step's time without a batch.
    """

    step: int
    seconds: float
    progress: float
    loss: float
    bpp: float
    psnr: float
    lpips: float
    learning_rate: float
    adversarial: float = 0.0
    discriminator: float = 0.0
    waiting: float = 0.0


def must_be_finite(what: str, value: float, step: int) -> None:
    """Raise Diverged for what is infinite or not a number."""
    if not math.isfinite(value):
        raise Diverged(f"the {what} is {value} at step {step}: the learning rate is too high")


class Run:
    """Stage 1 of a teacher in training: model, average weights, optimiser and random state.

    A later stage is a kind of it that learns from another loss, and has more to save.
    """

    stage = 1

    def __init__(
        self, teacher: Teacher, recipe: Recipe, device: str, seed: int = 0, peers: Peers = ALONE
    ) -> None:
        for part in recipe.frozen:
            teacher.get_submodule(part).requires_grad_(False)
        self.teacher = placed(teacher, device)
        self.recipe = recipe
        self.device = device
        torch.backends.cudnn.benchmark = True  # of use on a GPU: all batches have one shape
        self.peers = peers
        peers.agree(teacher.state_dict().values())
        self.ema = {name: value.detach().clone() for name, value in teacher.state_dict().items()}
        self.trained = [parameter for parameter in teacher.parameters() if parameter.requires_grad]
        self.optimizer = Muon(self.trained, lr=recipe.learning_rate)
        self.rng = np.random.default_rng(seed)
        seed_noise(seed, peers)
        self.photos: dict[str, int | str] = {}
        self.step = 0
        self.seconds = 0.0
        self.bpp = recipe.target_bpp
        """The mean rate of the last batches, in bpp, which picks the weight of the next one's."""

    def look_at(self, photos: Sequence[Pixels]) -> None:
        """Learn from these photographs. Raises BadUpload if the run has learnt from others so far: what its
        random state draws would not be what it would have drawn.
        """
        found, before = identity_of(photos), self.photos or identity_of(photos)
        if found != before:
            same = found["count"] == before["count"]
            raise BadUpload(
                f"the checkpoint's run learns from {before['count']} photographs, and these are "
                f"{'as many of other sizes' if same else found['count']}: give it the same, or begin another "
                "run, with --from and the checkpoint"
            )
        self.photos = found

    def learn(self, batches: Iterator[Tensor], lpips: LPIPS, progress: float) -> TeacherLoss:
        """One step of the run, on as many batches as its stage needs."""
        return self.advance(next(batches), lpips, progress)

    def loss(self, x: Tensor, lpips: LPIPS, progress: float) -> TeacherLoss:
        """What the teacher learns from."""
        weight = self.recipe.rate_weight_at(progress, self.bpp)
        return stage_one_loss(self.teacher, lpips, x, self.recipe, progress, weight, self.peers)

    def advance(self, x: Tensor, lpips: LPIPS, progress: float) -> TeacherLoss:
        """One optimiser step of the teacher on the batch x [N, 3, H, W] in 0..1."""
        result = self.loss(as_placed(x, self.device), lpips, progress)
        rate = self.recipe.learning_rate_at(progress)
        self.descend(result.loss, self.trained, self.optimizer, rate)
        self.step += 1
        self.bpp += (result.bpp - self.bpp) / min(self.step, RATE_BATCHES)
        self._average()
        return result

    def descend(
        self, loss: Tensor, trained: list[nn.Parameter], optimizer: torch.optim.Optimizer, rate: float
    ) -> None:
        """Move the trained weights down the gradient of the loss, the mean over all processes."""
        # The mean: were only the process whose loss it is to stop, the others would wait for its gradients.
        must_be_finite("loss", self.peers.mean(loss.item()), self.step)
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.peers.average_gradients(trained)
        norm = torch.nn.utils.clip_grad_norm_(trained, self.recipe.clip_norm)
        # A finite loss may have a gradient that is not: found now, it reaches neither weights nor checkpoint.
        must_be_finite("gradient", norm.item(), self.step)
        optimizer.step()

    @torch.no_grad()
    def _average(self) -> None:
        # Early on, an average over a long past would be an average over noise.
        decay = min(self.recipe.ema_decay, self.step / (self.step + 10.0))
        own = self.teacher.state_dict()
        names = [name for name, value in own.items() if value.is_floating_point()]
        torch._foreach_lerp_([self.ema[name] for name in names], [own[name] for name in names], 1.0 - decay)

    def state(self) -> RunState:
        """A snapshot for `save_state`; every process of the run has to take it."""
        return RunState(
            self.teacher.preset.name,
            self.teacher.state_dict(),
            self.ema,
            self.optimizer.state_dict(),
            self.step,
            self.seconds,
            torch.get_rng_state(),
            self.rng.bit_generator.state,  # type: ignore[arg-type]
            self.stage,
            noise_rng=self.peers.gather(noise_state(self.device)),
            device=torch.device(self.device).type,
            recipe=asdict(self.recipe),
            photos=self.photos,
            bpp=self.bpp,
        )

    def restore(self, state: RunState) -> None:
        """Go on exactly where `state` was taken.

        Raises UnsupportedVersion if other weights learnt then, by another optimiser or in another version.
        """
        fill(self.teacher, state.model, "the checkpoint")
        for name, value in state.ema.items():
            self.ema[name].copy_(value)
        try:
            self.optimizer.load_state_dict(state.optimizer)
        except ValueError as error:
            raise UnsupportedVersion(
                "the checkpoint's run trained other parts of the teacher, or by another optimiser: resume it "
                f"with the options it had, or start another with --from and the checkpoint ({error})"
            ) from None
        self.step, self.seconds, self.photos = state.step, state.seconds, state.photos
        self.bpp = self.bpp if state.bpp is None else state.bpp
        self.rng.bit_generator.state = state.data_rng
        restore_noise(state, self.device, self.peers)


def train(
    run: Run,
    photos: Sequence[Pixels],
    lpips: LPIPS,
    budget: Budget,
    checkpoint: Path,
    report: Callable[[StepReport], None],
    save_every_s: float = 300.0,
    stop: Callable[[], bool] = lambda: False,
) -> bool:
    """Train until the budget is spent, or, after any step, `stop` says so in one of the processes; save now
    and then and at the end; report every step. Returns whether the budget is spent.

    Raises BadUpload for a resumed run that has learnt from other photographs, and BadPicture, with the steps
    before it saved, for one that is found damaged when it is drawn.
    """
    run.look_at(photos)
    started, before = time.monotonic(), run.seconds
    saved, stopped = run.seconds, False
    with Batches(photos, run.recipe.batch, run.recipe.crop, run.rng, run.peers) as batches:
        while (progress := budget.progress(run.step, run.seconds)) < 1.0 and not stopped:
            last = run.seconds
            try:
                result = run.learn(batches, lpips, progress)
            except BadPicture:
                if run.peers.count == 1:  # others know nothing of it, and will not save with this one
                    _save(run, checkpoint)
                raise
            # The mean clock, and a stop for all: they have to end and save at the same step.
            run.seconds, told = run.peers.means([before + time.monotonic() - started, float(stop())])
            stopped = told > 0.0
            waiting = batches.waited() / max(run.seconds - last, 1e-9)
            report(_report(run, result, progress, waiting))
            if run.seconds - saved > save_every_s:
                _save(run, checkpoint)
                saved = run.seconds
    _save(run, checkpoint)
    return progress >= 1.0


def _save(run: Run, checkpoint: Path) -> None:
    """Raises Diverged instead, for weights that are not finite: what the last step made of them is not known
    from its loss.
    """
    state = run.state()
    for name, value in state.model.items():
        must_be_finite(f"largest of {name}", value.abs().max().item() if value.numel() else 0.0, run.step)
    if run.peers.first:
        save_state(state, checkpoint)


def _report(run: Run, result: TeacherLoss, progress: float, waiting: float) -> StepReport:
    figures = [result.loss.item(), *result[1:], waiting]
    loss, bpp, mse, lpips, adversarial, discriminator, waiting = run.peers.means(figures)
    return StepReport(
        run.step,
        run.seconds,
        progress,
        loss,
        bpp,
        psnr_of(mse),
        lpips,
        run.recipe.learning_rate_at(progress),
        adversarial,
        discriminator,
        waiting,
    )
