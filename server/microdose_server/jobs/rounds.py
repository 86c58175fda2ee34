"""Rounds of distilling for a live sequence: which dose suits a shot so far, and what it builds on.

checkpoint := the epoch that the dose would be · the pictures that it learns from, of how many · the run

Pictures are at hand as latents. What the student is to paint from them comes when a round begins: the teacher
paints it, or the original is read again, which garbage collection may have taken if the shot is long.
"""

import logging
import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.dose import DoseKind
from microdose.errors import DigestMismatch, NotFound
from microdose.resources import DoseAim
from microdose.resources import Sequence as Wish
from microdose_server.distil.checkpoint import Keeper, as_bytes, as_tensor, pack_checkpoint, parse_checkpoint
from microdose_server.distil.nearest import distances, nearest
from microdose_server.distil.plan import shorter
from microdose_server.distil.specialise import Budget, Dosed, OverfitRecipe, Progress, Target, specialise
from microdose_server.intake.picture import read_picture
from microdose_server.jobs.distiller import Digests, Made, Next, Seen
from microdose_server.jobs.dosing import pixels_of
from microdose_server.settings import Settings
from microdose_server.store.shelf import originals

FORMAT = "round 3"
"""What a checkpoint here holds, and its version; one of another is not gone on with."""

log = logging.getLogger(__name__)


class Teacher(Protocol):
    """What paints the targets where a dose aims at its pictures; in a worker, `Encoder`."""

    @property
    def base(self) -> LoadedBase:
        """The base whose student learns from them."""

    def decode(self, y_hat: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        """The teacher's picture of y_hat."""


class Rounds:
    """Specialising to pictures of which only latents are at hand; the caps of `wish` are for each dose.

    To each run it is the keeper, and keeps which round it belongs to as well.
    """

    def __init__(
        self,
        settings: Settings,
        wish: Wish,
        teacher: Teacher,
        keeper: Keeper,
        begun: bytes | None = None,
        recipe: OverfitRecipe | None = None,
    ) -> None:
        """`begun`: what an earlier attempt has left with the keeper."""
        self._settings, self._wish, self._teacher, self._keeper = settings, wish, teacher, keeper
        self._recipe = recipe
        self._originals = originals(settings)
        self._seconds = shorter(settings.live_dose_s, wish.dose_seconds)
        self._round: dict[str, Any] = {}
        self._begun = _unpacked(begun)

    def __call__(
        self, pictures: Sequence[Seen], count: int, following: Next, report: Callable[[Progress], None]
    ) -> Made:
        """The dose that suits the pictures best, and pays over the `count` that they are a part of; none
        where nothing is left of what it would aim at.
        """
        begin, base, device = time.monotonic(), self._teacher.base, self._settings.device
        aimed = [(seen.digests, target) for seen in pictures if (target := self._target(seen))]
        if not aimed:
            return Made(Dosed(None, DoseKind.NONE, 0.0, 0.0), None, 1.0)
        learned, targets = [list(digests) for digests, _ in aimed], [target for _, target in aimed]
        self._round = {"format": FORMAT, "epoch": following.epoch, "pictures": learned, "count": count}
        starts = following.starts
        parent = list(starts)[nearest(base, targets, list(starts.values()), device)]
        (shown,) = distances(base, targets, [following.shown], device)
        seconds = max(0.0, self._seconds - (time.monotonic() - begin))
        dosed = specialise(
            base,
            targets,
            choice=self._wish.dose,
            lmbda=self._wish.lmbda,
            budget=Budget(self._settings.distil_steps, seconds),
            epoch=following.epoch,
            report=report,
            device=device,
            parents=starts[parent],
            most_bytes=self._wish.dose_bytes,
            pixels=round(pixels_of(targets) * count / len(targets)),
            keeper=self,
            recipe=self._recipe,
        )
        return Made(dosed, parent, dosed.loss_after / shown if shown else 1.0)

    def _target(self, seen: Seen) -> Target | None:
        """What the student is to make of a picture; None where its original is gone."""
        if self._wish.aim is DoseAim.TEACHER:
            return Target(seen.y_hat, self._teacher.decode(seen.y_hat, seen.height, seen.width))
        try:
            data = self._originals.get(seen.digests.original)
        except (NotFound, DigestMismatch) as error:
            log.warning("a picture is not learned from: %s", error)
            return None
        return Target(seen.y_hat, read_picture(data, self._settings.limits).pixels)

    # The keeper of a run

    def load(self) -> bytes | None:
        """The run that was under way, if it is of this very round."""
        (of, run), self._begun = self._begun, _unpacked(None)
        return run if of == self._round else None

    def due(self) -> bool:
        """Whether to save again."""
        return self._keeper.due()

    def save(self, data: bytes) -> None:
        """Keep the run, and which round it belongs to."""
        self._keeper.save(pack_checkpoint({"run": as_tensor(data)}, self._round))


def unfinished(begun: bytes | None, epoch: int) -> tuple[list[Digests], int]:
    """The pictures that a dose to be this epoch was to learn from, when an attempt kept this, and of how many
    they are a part; or none.
    """
    of, _ = _unpacked(begun)
    return ([Digests(*each) for each in of["pictures"]], of["count"]) if of.get("epoch") == epoch else ([], 0)


def _unpacked(data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    """The round, and its run."""
    kept = None if data is None else parse_checkpoint(data)
    if kept is None or kept.facts.get("format") != FORMAT:
        return {}, None
    return kept.facts, as_bytes(kept.tensors["run"])
