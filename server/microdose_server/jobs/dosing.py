"""The doses of a sequence that is whole: each shot gets what suits it, for its share of what may be spent.

shot ─► nearest: the generic student, or one of the newest epochs ─► distil from there
            no dose pays ─► the shot belongs to that epoch, for no bytes
            a dose pays ──► a new epoch, which builds on it
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple, TypeAlias

from microdose.dose import MAX_CHAIN, DoseKind
from microdose_server.distil.specialise import Dosed
from microdose_server.distil.tiles import Target
from microdose_server.jobs.publication import RECALLED, Epoch, doses_of


@dataclass(frozen=True, slots=True)
class Allowance:
    """What may be spent on the doses of so many pixels; None: as much as it takes."""

    pixels: int
    steps: int
    seconds: float | None = None
    size: int | None = None

    def share(self, pixels: int) -> "Allowance":
        """What falls to `pixels` of them. One byte is the least, which no dose has."""
        part = pixels / self.pixels
        return Allowance(
            pixels,
            round(part * self.steps),
            None if self.seconds is None else part * self.seconds,
            None if self.size is None else max(1, int(part * self.size)),
        )

    def less(self, spent: "Allowance") -> "Allowance":
        """What is left after that."""
        return Allowance(
            self.pixels - spent.pixels,
            self.steps - spent.steps,
            None if self.seconds is None else max(0.0, self.seconds - (spent.seconds or 0.0)),
            None if self.size is None else self.size - (spent.size or 0),
        )


@dataclass(frozen=True, slots=True)
class Task:
    """Pictures to find a dose for, as epoch number `epoch`, from one of several chains of doses."""

    targets: Sequence[Target]
    epoch: int
    starts: tuple[tuple[bytes, ...], ...]
    allowance: Allowance


class Found(NamedTuple):
    """What came of a task: the number of the chain that it started from, and the seconds that it took."""

    start: int
    dosed: Dosed
    seconds: float


Distil: TypeAlias = Callable[[Task], Found]


@dataclass
class Doses:
    """The epochs found so far, and for each shot the number of the one that it belongs to."""

    epochs: list[Epoch] = field(default_factory=list)
    of_shots: list[int] = field(default_factory=list)

    def starts(self) -> list[int | None]:
        """The epochs that a dose may build on; None: the generic student, which is always there."""
        newest = range(max(0, len(self.epochs) - RECALLED), len(self.epochs))
        return [None, *(n for n in newest if 0 < len(doses_of(self.epochs, n)) < MAX_CHAIN)]

    def add(self, start: int | None, dosed: Dosed) -> None:
        """What was found for the next shot, from one of the starts."""
        if dosed.dose is not None:
            self._begin(Epoch(dosed.kind, dosed.dose, start))
        elif start is not None:
            self.of_shots.append(start)
        elif (generic := Epoch(DoseKind.NONE)) in self.epochs:
            self.of_shots.append(self.epochs.index(generic))
        else:
            self._begin(generic)

    def _begin(self, epoch: Epoch) -> None:
        self.of_shots.append(len(self.epochs))
        self.epochs.append(epoch)


def dose_shots(shots: Sequence[Sequence[Target]], allowance: Allowance, distil: Distil) -> Doses:
    """Epochs for all shots, in order. What one shot leaves of its seconds and bytes is for the next ones."""
    doses = Doses()
    for targets in shots:
        starts, share = doses.starts(), allowance.share(pixels_of(targets))
        chains = tuple(doses_of(doses.epochs, start) for start in starts)
        found = distil(Task(targets, len(doses.epochs), chains, share))
        doses.add(starts[found.start], found.dosed)
        size = len(found.dosed.dose or b"")
        allowance = allowance.less(Allowance(share.pixels, share.steps, found.seconds, size))
    return doses


def pixels_of(targets: Sequence[Target]) -> int:
    """Pixels of all pictures."""
    return sum(target.pixels.shape[0] * target.pixels.shape[1] for target in targets)
