"""Rounds of distilling for a live sequence: which dose suits a shot so far, and what it builds on."""

import time
from collections.abc import Callable, Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.resources import Sequence as Wish
from microdose_server.distil.nearest import distances
from microdose_server.distil.plan import shorter
from microdose_server.distil.specialise import Budget, Progress, Target, specialise
from microdose_server.jobs.distiller import Distil, Made, Next, Seen
from microdose_server.settings import Settings

ROUND_S = 60.0
"""Seconds that a dose of a live sequence may take where nobody says."""


class Teacher(Protocol):
    """What paints the targets; in a worker, `Encoder`."""

    @property
    def base(self) -> LoadedBase:
        """The base whose student learns from them."""

    def decode(self, y_hat: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        """The teacher's picture of y_hat."""


def rounds(settings: Settings, wish: Wish, teacher: Teacher) -> Distil:
    """Specialising to pictures of which only latents are at hand; the caps of `wish` are for each dose."""
    seconds = shorter(settings.distil_seconds or ROUND_S, wish.dose_seconds) or ROUND_S
    base, device = teacher.base, settings.device

    def distil(pictures: Sequence[Seen], following: Next, report: Callable[[Progress], None]) -> Made:
        begun = time.monotonic()
        targets = [
            Target(seen.y_hat, teacher.decode(seen.y_hat, seen.height, seen.width)) for seen in pictures
        ]
        starts, shown = following.starts, following.shown
        chains = list(dict.fromkeys([*starts.values(), shown]))
        scores = dict(zip(chains, distances(base, targets, chains, device), strict=True))
        parent = min(starts, key=lambda epoch: scores[starts[epoch]])
        dosed = specialise(
            base,
            targets,
            choice=wish.dose,
            lmbda=wish.lmbda,
            budget=Budget(settings.distil_steps, max(0.0, seconds - (time.monotonic() - begun))),
            epoch=following.epoch,
            report=report,
            device=device,
            parents=starts[parent],
            most_bytes=wish.dose_bytes,
        )
        return Made(dosed, parent, dosed.loss_after / scores[shown] if scores[shown] else 1.0)

    return distil
