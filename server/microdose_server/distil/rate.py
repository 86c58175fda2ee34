"""What a dose costs, in measured bytes, what it is worth, and in which steps that bargain is best.

A tensor's step is `scale` over the RMS of its gradients: so an error of one step costs about the same
wherever it is made, and one number is left to be searched. Where it lies follows from a uniform quantiser at
high rate, D = F step^2 / 24 and R = -log2 step: the least D + price * R is at step^2 = 12 price / (F ln 2).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from microdose.base import LoadedBase
from microdose.dose import Dose, DoseKind, pack_dose
from microdose_server.distil.overfit import Learner, Overfit
from microdose_server.distil.patch import Patch, Steps
from microdose_server.distil.tiles import Tile

DEFAULT_LMBDA = 0.6
"""Distortion that a bit per pixel must save: amid what it saves in finer latents, from sequence to sequence
(`latents_worth` of benchmarks/dose.py).
"""

USUAL_PRICE = DEFAULT_LMBDA / 8e6
"""lmbda per pixel of 24 pictures of 768x432."""

NARROWEST, WIDEST = 2.0**-30, 2.0**10
"""Scales."""
SEARCHED_SHARE = 0.65
"""The share of a cap on bytes that a search keeps to. Doses grow in the training that follows: what is just
within the cap before it ends above it, in coarser steps that nothing was trained in.
"""


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

    def for_search(self) -> "Terms":
        """With the cap that a search keeps to."""
        cap = self.most_bytes
        return self if cap is None else replace(self, most_bytes=int(SEARCHED_SHARE * cap))

    def pull(self, usual: float) -> float:
        """How hard matrices are pulled towards zero where bytes cost this much; `usual` where they cost what
        they did when that was found. The cube root lies between what short runs liked best for one picture,
        whose bytes are dear, and for 24 whose bytes cost a twelfth; no theory is behind it.
        """
        return usual * math.cbrt(self.lmbda / self.pixels / USUAL_PRICE)

    def first_scale(self) -> float:
        """Where to look first for the scale: a twenty-fifth of what the model says, as measured to be nearer.

        The gradients that it knows are of single tiles, so mostly noise, and steps too coarse are a trap:
        beyond a hump in the cost lies the dose that changes nothing.
        """
        wanted = 0.04 * math.sqrt(12.0 * self.lmbda / (math.log(2.0) * self.pixels))
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
        distortion = self.run.score({}, self.run.judged)
        return Candidate(DoseKind.NONE, None, distortion, distortion)

    def weigh(self, kind: DoseKind, steps: Steps) -> Candidate:
        """The present changes in these steps, coded; if within the cap, judged as they will be decoded."""
        return self._weighed(kind, steps, self.run.judged, self.terms)

    def _weighed(self, kind: DoseKind, steps: Steps, tiles: Sequence[Tile], terms: Terms) -> Candidate:
        changes = self.run.patch.changes(steps)
        blob = pack_dose(Dose(self.base.prefix, self.epoch, kind, changes, self.parent), self.base)
        price = terms.price(len(blob))
        if math.isinf(price):
            return Candidate(kind, blob, math.inf, math.inf)
        distortion = self.run.score(self.run.patch.weights(steps), tiles)
        return Candidate(kind, blob, distortion, distortion + price)

    def search(self, kind: DoseKind, learner: Learner, start: float, stop: Callable[[], bool]) -> float:
        """The scale of least cost near `start`, of those that are weighed before `stop` says so."""
        terms = self.terms.for_search()

        def cost(scale: float) -> float:
            if stop():
                return math.inf
            steps = steps_at(scale, self.run.patch, learner)
            candidate = self._weighed(kind, steps, self.run.searched, terms)
            # Above the cap all cost the same, infinity: there, fewer bytes are better.
            over = math.isinf(candidate.cost)
            return 1e9 + len(candidate.blob or b"") if over else candidate.cost

        return walk(start, cost)


def steps_at(scale: float, patch: Patch, learner: Learner) -> dict[str, float]:
    """The step of each change, from how much the loss minds errors of it; where it hardly does, NOTHING."""
    return {
        key: delta.coded(scale / max(learner.sensitivity(key), 1e-12)) for key, delta in patch.deltas.items()
    }


def walk(start: float, cost: Callable[[float], float]) -> float:
    """Doubles the number, or else halves it, while the cost falls; then looks half as far each way."""
    best, least = start, cost(start)
    for factor in (2.0, 0.5):
        while NARROWEST <= best * factor <= WIDEST and (found := cost(best * factor)) < least:
            best, least = best * factor, found
        if best != start:
            break
    near = {scale: cost(scale) for scale in (best * math.sqrt(2.0), best / math.sqrt(2.0))}
    return min(near, key=near.__getitem__) if min(near.values()) < least else best


def cheapest(candidates: Sequence[Candidate]) -> Candidate:
    """The candidate of least cost; of equals, the first."""
    return min(candidates, key=lambda candidate: candidate.cost)
