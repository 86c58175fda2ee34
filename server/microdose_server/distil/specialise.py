"""From a sequence to its dose: climb the ladder as far as it can pay, and send the cheapest rung.

for gains, then low-rank or full, each from what the gains have learnt:
    train freely --> train in steps that a model gives --> least D + lmbda * bpp near them: the steps
                 --> train in these --> coded: a candidate
no dose and all candidates --least D + lmbda * bpp, from measured bytes--> what is sent

Where the seconds are out, what is learnt by then is coded once, in the steps that the model gives.
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import Any

import torch
from torch import Tensor

from microdose.base import LoadedBase
from microdose.digest import digest_of, prefix
from microdose.dose import DoseKind, dosed_student
from microdose.resources import DoseChoice
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.checkpoint import Keeper, as_bytes, as_tensor, pack_checkpoint, parse_checkpoint
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import CHECK_EVERY, Learner, Overfit, OverfitRecipe, Plateau
from microdose_server.distil.patch import COARSEST, Patch
from microdose_server.distil.plan import Budget, Clock, Phase, Stage, phases_of, rungs_for
from microdose_server.distil.progress import Progress
from microdose_server.distil.rate import (
    DEFAULT_LMBDA,
    Candidate,
    Scales,
    Terms,
    cheapest,
    steps_at,
)
from microdose_server.distil.tiles import Target
from microdose_server.training.lpips import LPIPS

__all__ = ["Budget", "Dosed", "OverfitRecipe", "Progress", "Target", "specialise"]

RUN = 5
"""The version of what a checkpoint holds; one of another is not gone on with."""


@dataclass(frozen=True)
class Dosed:
    """A dose's blob or none, and the distortion to the targets without and with what was chosen, on the tiles
    of the sequence that `overfit.JUDGED_TILES` counts.

    Both are 0 where the publisher asked for no dose: then nothing is trained, nor measured. `seconds` are
    those of all runs of it.
    """

    dose: bytes | None
    kind: DoseKind
    loss_before: float
    loss_after: float
    seconds: float = field(default=0.0, compare=False)


def specialise(
    base: LoadedBase,
    targets: Sequence[Target],
    *,
    choice: DoseChoice,
    lmbda: float | None,
    budget: Budget,
    epoch: int,
    report: Callable[[Progress], None],
    device: str = "cpu",
    parents: Sequence[bytes] = (),
    most_bytes: int | None = None,
    pixels: int | None = None,
    keeper: Keeper | None = None,
    recipe: OverfitRecipe | None = None,
) -> Dosed:
    """Overfit the base's student to the targets of a sequence. Raises Diverged.

    Args:
        choice: AUTO sends what is cheapest, which may be nothing. A rung sends a dose of that rung, even
            where AUTO would find it not worth its bytes. NONE trains nothing.
        lmbda: the distortion that a bit per pixel may cost; None takes `rate.DEFAULT_LMBDA`.
        budget: steps, and seconds with all loading and searching; whichever ends first. Only what it takes to
            code one candidate, and to score it, may come after the seconds.
        parents: the chain of doses to build on, the oldest first. The dose is then a difference to their
            weights, and no dose means that they go on serving.
        most_bytes: no dose of more bytes is sent, whatever the choice.
        pixels: that the dose is for, and its bytes with it; None takes those of the targets.
        keeper: keeps the run, which goes on from what is kept if that is this same run.
        recipe: learning rates and weights of the loss's terms; None takes the usual ones.
    """
    clock = Clock(budget)
    if choice is DoseChoice.NONE or not targets:
        return Dosed(None, DoseKind.NONE, 0.0, 0.0)
    recipe = recipe or OverfitRecipe()
    student = student_from_onnx(dosed_student(base, parents))
    objective = Objective(
        student,
        targets,
        LPIPS(),
        device,
        features=recipe.features,
        beta=recipe.beta,
        discriminator=recipe.discriminator,
    )
    patch = Patch(base.document, dict(student.named_parameters()))
    served = pixels or sum(target.pixels.shape[0] * target.pixels.shape[1] for target in targets)
    terms = Terms(DEFAULT_LMBDA if lmbda is None else lmbda, served, most_bytes)
    parent = prefix(digest_of(parents[-1])) if parents else b""
    scales = Scales(Overfit(patch, objective), base, terms, epoch, parent)
    learner = Learner(replace(recipe, pull=terms.pull(recipe.pull)))
    climb = Climb(scales, learner, choice, clock, report, keeper)
    climb.resume()
    climb.run()
    return climb.outcome()


class Climb:
    """One run up the ladder, phase after phase, which can stop anywhere and go on from its checkpoint."""

    def __init__(
        self,
        scales: Scales,
        learner: Learner,
        choice: DoseChoice,
        clock: Clock,
        report: Callable[[Progress], None],
        keeper: Keeper | None,
    ) -> None:
        self.scales, self.learner, self.choice, self.clock = scales, learner, choice, clock
        self.report, self.keeper = report, keeper
        self.overfit = scales.run
        self.nothing = scales.nothing()
        self.phases = phases_of(rungs_for(choice, self.nothing.distortion, scales.terms), choice)
        self.candidates: list[Candidate] = []
        self.number = 0
        """The phase that is under way; `begun` once its `steps` are chosen."""
        self.begun = False
        self.steps: dict[str, float] | None = None
        self.plateau = Plateau()

    def run(self) -> None:
        """From where it stands to the end of the last phase."""
        if self.number < len(self.phases) and not self.clock.out_of_time():
            self.overfit.objective.fit_features(self.overfit.searched)
        while self.number < len(self.phases):
            phase = self.phases[self.number]
            if self._too_late_for(phase):
                self.number, self.begun = self.number + 1, False
                continue
            if not self.begun:
                self._begin(phase)
                self._keep()
            self._train()
            if phase.stage is Stage.FINAL and not self._too_late_for(phase):
                self.candidates.append(self._final(phase))
            self.number, self.begun = self.number + 1, False
            self._keep()

    def _too_late_for(self, phase: Phase) -> bool:
        """Without time, all phases but the last one of the rung that is under way, or that was asked for."""
        asked = self.overfit.patch.rung if self.choice is DoseChoice.AUTO else self.choice.value
        return self.clock.out_of_time() and (phase.stage, phase.rung) != (Stage.FINAL, asked)

    def outcome(self) -> Dosed:
        """What to send: of all candidates if the choice is free, else of the rung that was asked for."""
        allowed = [each for each in self.candidates if math.isfinite(each.cost)]
        if self.choice is not DoseChoice.AUTO:
            wanted = [each for each in allowed if each.kind == self.choice.value]
            chosen = cheapest(wanted) if wanted else self.nothing
        else:
            chosen = cheapest([self.nothing, *allowed])
        losses = self.nothing.distortion, chosen.distortion
        return Dosed(chosen.blob, chosen.kind, *losses, self.clock.seconds)

    def _begin(self, phase: Phase) -> None:
        self.overfit.patch.climb(phase.rung)
        if phase.stage is Stage.FREE:
            self.steps = None
        else:
            scale = self.scales.terms.first_scale()
            if phase.stage is Stage.FINAL:
                scale = self.scales.search(phase.rung, self.learner, scale, self.clock.out_of_time)
            self.steps = steps_at(scale, self.overfit.patch, self.learner)
        self.clock.begin(self.phases[self.number :])
        self.plateau, self.begun = Plateau(), True

    def _train(self) -> None:
        """Steps until the phase's share is spent, or the tiles kept apart gain no more."""
        while (done := self.clock.done()) < 1.0:
            fraction = 0.5 * (1.0 + math.cos(math.pi * done)) * self.plateau.fraction
            loss, mse = self.overfit.step(self.learner, self.steps, fraction)
            self.clock.steps += 1
            taken = self.clock.steps
            self.report(Progress.of(taken, self.clock.spent(), loss, mse))
            if taken % CHECK_EVERY == 0 and self._stuck():
                break
            self._keep()

    def _stuck(self) -> bool:
        apart = self.overfit.watched
        weights = self.overfit.patch.weights(self.steps) if apart else {}
        return bool(apart) and self.plateau.over(self.overfit.score(weights, apart))

    def _final(self, phase: Phase) -> Candidate:
        """The candidate in the phase's steps; in coarser ones if it would be above the cap."""
        assert self.steps is not None
        found = self.scales.weigh(phase.rung, self.steps)
        coarser = dict(self.steps)
        deltas = self.overfit.patch.deltas
        while math.isinf(found.cost) and min(coarser.values()) <= COARSEST:
            coarser = {key: deltas[key].coded(math.sqrt(2.0) * step) for key, step in coarser.items()}
            found = self.scales.weigh(phase.rung, coarser)
        return found

    # The run as it is kept

    def resume(self) -> None:
        """Go on from what was kept, if it is of this run."""
        data = None if self.keeper is None else self.keeper.load()
        kept = None if data is None else parse_checkpoint(data)
        if kept is None or kept.facts.get("run") != self._identity():
            return
        tensors, facts = kept
        self.number, self.begun, self.steps = facts["number"], facts["begun"], facts["steps"]
        self.nothing = Candidate(DoseKind.NONE, None, facts["nothing"], facts["nothing"])
        self.phases = phases_of([DoseKind(rung) for rung in facts["rungs"]], self.choice)
        self.candidates = [
            Candidate(DoseKind(kind), as_bytes(tensors[f"blob.{n}"]), distortion, cost)
            for n, (kind, distortion, cost) in enumerate(facts["candidates"])
        ]
        self.plateau = Plateau(**facts["plateau"])
        self.clock.restore(facts["clock"])
        self.overfit.order, self.overfit.rng.bit_generator.state = facts["order"], facts["rng"]
        self.learner.steps, self.learner.born = facts["learner"], facts["born"]
        self.overfit.patch.climb(DoseKind(facts["rung"]))
        for name, u in self.overfit.patch.leaves().items():
            with torch.no_grad():
                u.copy_(tensors[f"u.{name}"])
        for name in self.learner.born:
            mean, square = (tensors[f"{part}.{name}"].to(self.overfit.objective.device) for part in "mv")
            self.learner.moments[name] = (mean, square)

    def _keep(self) -> None:
        if self.keeper is not None and self.keeper.due():
            self.keeper.save(self._packed())

    def _packed(self) -> bytes:
        tensors: dict[str, Tensor] = {
            f"u.{name}": value for name, value in self.overfit.patch.leaves().items()
        }
        for name, (mean, square) in self.learner.moments.items():
            tensors |= {f"m.{name}": mean, f"v.{name}": square}
        for n, candidate in enumerate(self.candidates):
            tensors[f"blob.{n}"] = as_tensor(candidate.blob or b"")
        facts: dict[str, Any] = {
            "run": self._identity(),
            "number": self.number,
            "begun": self.begun,
            "rung": self.overfit.patch.rung,
            "steps": self.steps,
            "nothing": self.nothing.distortion,
            "rungs": list(dict.fromkeys(phase.rung for phase in self.phases)),
            "candidates": [(each.kind, each.distortion, each.cost) for each in self.candidates],
            "plateau": asdict(self.plateau),
            "clock": self.clock.state(),
            "order": self.overfit.order,
            "rng": self.overfit.rng.bit_generator.state,
            "learner": self.learner.steps,
            "born": self.learner.born,
        }
        return pack_checkpoint(tensors, facts)

    def _identity(self) -> list[Any]:
        """What makes two runs the same one; the seconds that it may take need not be the same."""
        scales, budget = self.scales, self.clock.budget
        terms = [scales.terms.lmbda, scales.terms.pixels, scales.terms.most_bytes]
        named = [scales.base.digest, scales.parent.hex(), scales.epoch, self.choice.value]
        of_loss = [self.overfit.objective.has_features, self.learner.recipe.beta]
        return [RUN, *named, *terms, budget.steps, len(self.overfit.tiles), *of_loss]
