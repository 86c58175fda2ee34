"""From a sequence to its dose: overfit, choose the grid by measured bytes, go on training on it, decide.

::

    u = 0 --train freely--> candidates on coarse to fine grids --least D + lmbda * bpp--> grid
          --train on that grid--> dose   against   no dose at all: the cheaper one is sent
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from microdose.base import LoadedBase
from microdose.dose import DoseKind
from microdose.resources import DoseChoice
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.overfit import Budget, Overfit, OverfitRecipe, overfit
from microdose_server.distil.progress import Progress
from microdose_server.distil.rate import DEFAULT_LMBDA, Candidate, weigh_dose, weigh_nothing
from microdose_server.distil.tiles import Target
from microdose_server.training.lpips import LPIPS

__all__ = ["Budget", "Dosed", "Progress", "Target", "specialise"]

GRIDS = (0.02, 0.04, 0.08, 0.16, 0.32)
"""Steps of u, in units of a tensor's RMS."""
FREE_SHARE = 0.6
SCORED_TILES = 8


@dataclass(frozen=True)
class Dosed:
    """A dose's blob or none, and the distortion to the teacher without and with what was chosen.

    Both are 0 where the publisher asked for no dose: then nothing is trained, nor measured.
    """

    dose: bytes | None
    kind: DoseKind
    loss_before: float
    loss_after: float


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
) -> Dosed:
    """Overfit the base's MicroRN to a sequence whose teacher pictures are the targets.

    ``lmbda`` is the distortion that a bit per pixel may cost (``rate.DEFAULT_LMBDA`` if None). ``choice``
    FULL sends a dose even where AUTO would find it not worth its bytes; NONE trains nothing.
    """
    if choice is DoseChoice.NONE:
        return Dosed(None, DoseKind.NONE, 0.0, 0.0)
    price = DEFAULT_LMBDA if lmbda is None else lmbda
    run = Overfit(student_from_onnx(base.student), targets, LPIPS(), device)
    nothing = weigh_nothing(run, SCORED_TILES)
    recipe = OverfitRecipe()
    overfit(run, recipe, (0.0, FREE_SHARE), budget, None, report)
    grid = _best_grid(run, base, epoch, price)
    overfit(run, recipe, (FREE_SHARE, 1.0), budget, grid, report)
    dosed = weigh_dose(run, base, grid, epoch, price, SCORED_TILES)
    chosen = dosed if choice is DoseChoice.FULL or dosed.cost < nothing.cost else nothing
    return Dosed(chosen.blob, chosen.kind, nothing.distortion, chosen.distortion)


def _best_grid(run: Overfit, base: LoadedBase, epoch: int, price: float) -> float:
    candidates: list[Candidate] = [weigh_dose(run, base, grid, epoch, price, SCORED_TILES) for grid in GRIDS]
    best = min(candidates, key=lambda candidate: candidate.cost)
    assert best.grid is not None
    return best.grid
