"""What a dose costs, in measured bytes, what it is worth, and in which steps that bargain is best.

A tensor's step is `scale` over the RMS of its gradients: so an error of one step costs about the same
wherever it is made, and one number is left to be found. It follows from a uniform quantiser at high rate,
D = F step^2 / 24 and R = -log2 step: the least D + price * R is at step^2 = 12 price / (F ln 2).

Nothing is gained by trying others: what was trained in some steps is worth little in any other, and the time
that it takes to train in each is better spent in one. Near the best scale the cost is flat.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from microdose.base import LoadedBase
from microdose.dose import Dose, DoseKind, pack_dose
from microdose_server.distil.overfit import Learner, Overfit
from microdose_server.distil.patch import COARSEST, FINEST, Patch, Steps

DEFAULT_LMBDA = 0.75
"""Distortion that a bit per pixel must save: what HiFiC's own rate buys on Kodak between its published points
at 0.183 and 0.351 bpp. Finer latents of the shipped teacher save from 0.4 to 1.1 on a clip, by how many bytes
go there (benchmarks/dose.py)."""

NARROWEST, WIDEST = 2.0**-30, 2.0**10
"""Scales."""
FACTOR = 0.1
"""As measured: the gradients that the model knows are of single tiles, so mostly noise."""
GROWTH = 2.0
"""How much larger a dose may become while it is trained in its steps."""
SCORED_TILES = 8


@dataclass(frozen=True)
class Terms:
    """What bytes cost here: distortion per bit per pixel, pixels of the sequence, and a cap on bytes."""

    lmbda: float
    pixels: int
    most_bytes: int | None = None

    def price(self, size: int) -> float:
        """The distortion that so many bytes must save; infinite above the cap."""
        if self.most_bytes is not None and size > self.most_bytes:
            return math.inf
        return self.lmbda * 8.0 * size / self.pixels

    def worth(self, distortion: float) -> float:
        """The bytes that cost as much as a distortion."""
        return min(distortion * self.pixels / (8.0 * self.lmbda), self.most_bytes or math.inf)

    def scale(self) -> float:
        """FACTOR of what the model says."""
        wanted = FACTOR * math.sqrt(12.0 * self.lmbda / (math.log(2.0) * self.pixels))
        return min(max(wanted, NARROWEST), WIDEST)


@dataclass(frozen=True)
class Candidate:
    """A dose, or the student as it is without a blob: distortion D, and cost D + price."""

    kind: DoseKind
    blob: bytes | None
    distortion: float
    cost: float


@dataclass(frozen=True)
class Scales:
    """Weighs what a run has learnt so far, as a dose for `epoch` that builds on `parent` (empty: on none)."""

    run: Overfit
    base: LoadedBase
    terms: Terms
    epoch: int
    parent: bytes = b""

    def nothing(self) -> Candidate:
        """The weights that the run started from, which cost no byte."""
        distortion = self.run.score({}, self.run.sample(SCORED_TILES))
        return Candidate(DoseKind.NONE, None, distortion, distortion)

    def weigh(self, kind: DoseKind, steps: Steps) -> Candidate:
        """The present changes in these steps, coded, and scored as they will be decoded."""
        blob = self._pack(kind, steps)
        distortion = self.run.score(self.run.patch.weights(steps), self.run.sample(SCORED_TILES))
        return Candidate(kind, blob, distortion, distortion + self.terms.price(len(blob)))

    def steps(self, kind: DoseKind, learner: Learner) -> dict[str, float]:
        """What to train a dose in: the model's, or as much coarser as keeps it below the cap."""
        scale = self.terms.scale()
        steps = steps_at(scale, self.run.patch, learner)
        while scale < WIDEST and self._is_too_much(kind, steps):
            scale *= 2.0
            steps = steps_at(scale, self.run.patch, learner)
        return steps

    def _is_too_much(self, kind: DoseKind, steps: Steps) -> bool:
        most = self.terms.most_bytes
        return most is not None and GROWTH * len(self._pack(kind, steps)) > most

    def _pack(self, kind: DoseKind, steps: Steps) -> bytes:
        changes = self.run.patch.changes(steps)
        return pack_dose(Dose(self.base.prefix, self.epoch, kind, changes, self.parent), self.base)


def steps_at(scale: float, patch: Patch, learner: Learner) -> dict[str, float]:
    """The step of each change, from how much the loss minds errors of it; where it hardly does, one over the
    coarsest.
    """
    found = {}
    for key in patch.deltas:
        wanted = scale / max(learner.sensitivity(key), 1e-12)
        found[key] = 2.0 ** round(math.log2(min(max(wanted, FINEST), 2.0 * COARSEST)))
    return found


def coarser(steps: Steps) -> dict[str, float]:
    """Twice the steps, up to the one that leaves nothing."""
    return {key: min(2.0 * step, 2.0 * COARSEST) for key, step in steps.items()}


def cheapest(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate of least cost; of equals, the first."""
    return min(candidates, key=lambda candidate: candidate.cost)
