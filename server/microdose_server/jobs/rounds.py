"""Rounds of distilling for a live sequence: which dose suits a shot so far, and what it builds on.

checkpoint := the epoch that the dose would be · the segments that it learns from · the run
"""

import time
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.resources import Sequence as Wish
from microdose_server.distil.checkpoint import Keeper, as_bytes, as_tensor, pack_checkpoint, parse_checkpoint
from microdose_server.distil.nearest import distances
from microdose_server.distil.plan import shorter
from microdose_server.distil.specialise import Budget, Progress, Target, specialise
from microdose_server.jobs.distiller import Made, Next, Seen
from microdose_server.settings import Settings

FORMAT = "round 1"
"""What a checkpoint here holds, and its version; one of another is not gone on with."""
ROUND_S = 60.0
"""Seconds that a dose of a live sequence may take where nobody says."""


class Teacher(Protocol):
    """What paints the targets; in a worker, `Encoder`."""

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
        self, settings: Settings, wish: Wish, teacher: Teacher, keeper: Keeper, begun: bytes | None = None
    ) -> None:
        """`begun`: what an earlier attempt has left with the keeper."""
        self._settings, self._wish, self._teacher, self._keeper = settings, wish, teacher, keeper
        self._seconds = shorter(settings.distil_seconds or ROUND_S, wish.dose_seconds) or ROUND_S
        self._round: dict[str, Any] = {}
        self._begun = _unpacked(begun)

    def __call__(self, pictures: Sequence[Seen], following: Next, report: Callable[[Progress], None]) -> Made:
        """The dose that suits the pictures best."""
        begin, base, device = time.monotonic(), self._teacher.base, self._settings.device
        segments = [seen.segment for seen in pictures]
        self._round = {"format": FORMAT, "epoch": following.epoch, "segments": segments}
        targets = [
            Target(seen.y_hat, self._teacher.decode(seen.y_hat, seen.height, seen.width)) for seen in pictures
        ]
        starts, shown = following.starts, following.shown
        chains = list(dict.fromkeys([*starts.values(), shown]))
        scores = dict(zip(chains, distances(base, targets, chains, device), strict=True))
        parent = min(starts, key=lambda epoch: scores[starts[epoch]])
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
            keeper=self,
        )
        return Made(dosed, parent, dosed.loss_after / scores[shown] if scores[shown] else 1.0)

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


def unfinished(begun: bytes | None, epoch: int) -> list[str]:
    """The segments that a dose to be this epoch was to learn from, when an attempt kept this; or none."""
    of, _ = _unpacked(begun)
    return of["segments"] if of.get("epoch") == epoch else []


def _unpacked(data: bytes | None) -> tuple[dict[str, Any], bytes | None]:
    """The round, and its run."""
    kept = None if data is None else parse_checkpoint(data)
    if kept is None or kept.facts.get("format") != FORMAT:
        return {}, None
    return kept.facts, as_bytes(kept.tensors["run"])
