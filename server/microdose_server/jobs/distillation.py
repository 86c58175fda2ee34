"""Specialising the student to a sequence, shot by shot; another attempt goes on where one has died.

checkpoint := the shots that are done, with their doses · the run of the one that is under way
"""

import time
from typing import Any

from microdose import resources
from microdose.base import LoadedBase
from microdose.dose import DoseKind
from microdose.resources import DoseChoice
from microdose_server.distil.checkpoint import Keeper, as_bytes, as_tensor, pack_checkpoint, parse_checkpoint
from microdose_server.distil.nearest import nearest
from microdose_server.distil.specialise import Budget, Dosed, OverfitRecipe, Progress, specialise
from microdose_server.jobs.dosing import Found, Task
from microdose_server.jobs.progress import Reporter
from microdose_server.settings import Settings

FORMAT = "shots 3"
"""What a checkpoint here holds, and its version; one of another is not gone on with."""


class Distillation:
    """Does one task after the other. To each run it is the keeper, and keeps the shots before it as well."""

    def __init__(
        self,
        settings: Settings,
        base: LoadedBase,
        report: Reporter,
        wish: resources.Sequence,
        keeper: Keeper,
        recipe: OverfitRecipe | None = None,
    ) -> None:
        self._settings, self._base, self._report, self._wish = settings, base, report, wish
        self._keeper, self._recipe = keeper, recipe
        self._steps, self._number = 0, 0
        self._run, self._done = _unpacked(keeper.load())

    def __call__(self, task: Task) -> Found:
        """The dose that suits a task's pictures. Raises Fenced once another attempt has the job."""
        identity = self._identity(task)
        if [known for known, _ in self._done[self._number : self._number + 1]] != [identity]:
            del self._done[self._number :]
            self._done.append((identity, self._distil(task)))
            self._run = None
            if self._keeper.due():
                self._keeper.save(self._packed())
        self._number, self._steps = self._number + 1, self._steps + task.allowance.steps
        return self._done[self._number - 1][1]

    def keep(self) -> None:
        """Have all doses kept, due or not: whatever follows from them shall find the same ones again."""
        self._keeper.save(self._packed())

    def _distil(self, task: Task) -> Found:
        share, begun = task.allowance, time.monotonic()
        before, others = self._steps, self._settings.distil_steps - share.steps

        def tell(progress: Progress) -> None:
            steps = others + progress.steps
            self._report.step(before + progress.step, progress.loss, progress.psnr, steps=steps)

        start = nearest(self._base, task.targets, task.starts, self._settings.device)
        chosen = time.monotonic() - begun
        if share.seconds is not None and chosen >= share.seconds and self._wish.dose is DoseChoice.AUTO:
            return Found(start, Dosed(None, DoseKind.NONE, 0.0, 0.0), chosen)
        dosed = specialise(
            self._base,
            task.targets,
            choice=self._wish.dose,
            lmbda=self._wish.lmbda,
            budget=Budget(share.steps, None if share.seconds is None else max(0.0, share.seconds - chosen)),
            epoch=task.epoch,
            report=tell,
            device=self._settings.device,
            parents=task.starts[start],
            most_bytes=share.size,
            keeper=self,
            recipe=self._recipe,
        )
        return Found(start, dosed, chosen + dosed.seconds)

    # The keeper of a run

    def load(self) -> bytes | None:
        """The run that was under way."""
        return self._run

    def due(self) -> bool:
        """Whether to save again."""
        return self._keeper.due()

    def save(self, data: bytes) -> None:
        """Keep the run, and what was done before it."""
        self._run = data
        self._keeper.save(self._packed())

    def _packed(self) -> bytes:
        tensors = {f"dose.{n}": as_tensor(found.dosed.dose or b"") for n, (_, found) in enumerate(self._done)}
        facts = [[known, *_facts_of(found)] for known, found in self._done]
        run = as_tensor(self._run or b"")
        return pack_checkpoint({**tensors, "run": run}, {"format": FORMAT, "done": facts})

    def _identity(self, task: Task) -> list[Any]:
        """What makes two tasks the same one."""
        share, wish = task.allowance, self._wish
        of_all = [self._base.digest, wish.dose.value, wish.aim.value, wish.lmbda, wish.dose_bytes]
        return [*of_all, share.pixels, share.steps, task.epoch, len(task.starts)]


def _facts_of(found: Found) -> list[Any]:
    dosed = found.dosed
    losses = dosed.loss_before, dosed.loss_after
    return [found.start, found.seconds, dosed.kind.value, *losses, dosed.seconds]


def _unpacked(data: bytes | None) -> tuple[bytes | None, list[tuple[list[Any], Found]]]:
    """The run, and what was done before it, each with its task's identity."""
    kept = None if data is None else parse_checkpoint(data)
    if kept is None or kept.facts.get("format") != FORMAT:
        return None, []
    done = []
    for n, (known, start, seconds, kind, *measured) in enumerate(kept.facts["done"]):
        dose = as_bytes(kept.tensors[f"dose.{n}"]) or None
        done.append((known, Found(start, Dosed(dose, DoseKind(kind), *measured), seconds)))
    return as_bytes(kept.tensors["run"]) or None, done
