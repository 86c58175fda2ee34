"""Which rungs of the ladder are worth training, and how a budget is shared among them.

A rung is left out where even the fewest bytes that its doses take could not pay for themselves: then no dose
of it can win, however well it is trained. So one small picture ends at once, and many do not stop at gains.
"""

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from microdose.dose import DoseKind
from microdose.resources import DoseChoice
from microdose_server.distil.rate import Terms

LEAST_BYTES = {DoseKind.GAINS: 200, DoseKind.LOW_RANK: 500, DoseKind.FULL: 1000}
MOST_SAVED = {DoseKind.GAINS: 0.3, DoseKind.LOW_RANK: 0.4, DoseKind.FULL: 0.7}
"""The fewest bytes that a rung is any good with, and the share of the distortion that it may save at best."""
SHARES = {DoseKind.GAINS: 1.0, DoseKind.LOW_RANK: 3.0, DoseKind.FULL: 5.0}


@dataclass(frozen=True)
class Budget:
    """How long one sequence may be distilled: steps, and seconds if given; whichever ends first."""

    steps: int = 400
    seconds: float | None = None


def shorter(limit: float, other: float | None) -> float:
    """The least of a limit and of another one that may be missing."""
    return limit if other is None else min(limit, other)


class Stage(StrEnum):
    """free: in real numbers. trial: in the steps that a model gives. final: in those that are sent."""

    FREE = "free"
    TRIAL = "trial"
    FINAL = "final"


STAGE_SHARES = {Stage.FREE: 0.3, Stage.TRIAL: 0.3, Stage.FINAL: 0.4}


class Phase(NamedTuple):
    """A stretch of training, with its share of the budget."""

    rung: DoseKind
    stage: Stage
    share: float


def rungs_for(choice: DoseChoice, distortion: float, terms: Terms) -> tuple[DoseKind, ...]:
    """The rungs to train, cheapest first; each starts from what the gains have learnt.

    `distortion`: of the student as it is. A full dose in reach makes a low-rank one superfluous.
    """
    if choice is DoseChoice.NONE:
        return ()
    if choice is not DoseChoice.AUTO:
        wanted = DoseKind(choice.value)
        return (DoseKind.GAINS,) if wanted is DoseKind.GAINS else (DoseKind.GAINS, wanted)
    paying = [rung for rung in LEAST_BYTES if LEAST_BYTES[rung] <= terms.worth(MOST_SAVED[rung] * distortion)]
    return tuple(rung for rung in paying if rung is not DoseKind.LOW_RANK or DoseKind.FULL not in paying)


def phases_of(rungs: Sequence[DoseKind], choice: DoseChoice = DoseChoice.AUTO) -> list[Phase]:
    """Every rung in all three stages; below a rung that was asked for, no other is quantised or sent."""
    asked = choice is not DoseChoice.AUTO
    return [
        Phase(rung, stage, SHARES[rung] * STAGE_SHARES[stage])
        for rung in rungs
        for stage in Stage
        if stage is Stage.FREE or not (asked and rung is not rungs[-1])
    ]


class Clock:
    """What is spent of a budget, over all runs of it, each from when its clock was made.

    A phase gets its share of what is left at its start.
    """

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.steps = 0
        self._phase = (0, 0)
        """Step at which the present phase began, and the steps it may take."""
        self._span: tuple[float, float] | None = None
        """When it began and will have to end, on the scale of `seconds`; None without a budget of seconds."""
        self._before, self._since = 0.0, time.monotonic()

    @property
    def seconds(self) -> float:
        """Seconds spent so far."""
        return self._before + time.monotonic() - self._since

    def out_of_time(self) -> bool:
        """Whether all seconds are spent."""
        return self.budget.seconds is not None and self.seconds >= self.budget.seconds

    def spent(self) -> float:
        """The share of the budget that is over, by steps or by time, whichever is further."""
        by_steps = self.steps / max(1, self.budget.steps)
        return max(by_steps, self.seconds / self.budget.seconds if self.budget.seconds else by_steps)

    def begin(self, phases: Sequence[Phase]) -> None:
        """Start the first of the phases that are left."""
        share = phases[0].share / sum(phase.share for phase in phases)
        self._phase = (self.steps, round(share * (self.budget.steps - self.steps)))
        if self.budget.seconds is not None:
            now = self.seconds
            self._span = (now, now + share * max(0.0, self.budget.seconds - now))

    def done(self) -> float:
        """The share of the phase that is over, by steps or by time, whichever is further.

        So a learning rate that falls with it ends at zero even where the time ends first.
        """
        began, most = self._phase
        by_steps = (self.steps - began) / most if most else 1.0
        if self._span is None:
            return by_steps
        start, end = self._span
        return max(by_steps, (self.seconds - start) / (end - start) if end > start else 1.0)

    def state(self) -> dict[str, Any]:
        """Plain facts for `restore`."""
        return {"steps": self.steps, "phase": self._phase, "span": self._span, "seconds": self.seconds}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Go on from a state; the time between it and the making of this clock does not count."""
        self.steps, self._phase = state["steps"], tuple(state["phase"])
        self._span = None if state["span"] is None else tuple(state["span"])
        self._before = state["seconds"]
