"""What a dose costs, in measured bytes, and what it is worth."""

from dataclasses import dataclass

import torch

from microdose.base import LoadedBase
from microdose.changes import Add, code_of, step_of
from microdose.dose import Dose, DoseKind, pack_dose
from microdose_server.distil.overfit import Overfit, on_grid

DEFAULT_LMBDA = 0.75
"""Distortion that a bit per pixel must save: what HiFiC's own rate buys on Kodak between its published points
at 0.183 and 0.351 bpp (LPIPS .0686 to .0428 and 27.56 to 29.65 dB: 0.128 for 0.168 bpp)."""


@dataclass(frozen=True)
class Candidate:
    """A dose on one grid, or the generic student without a blob: distortion D, and cost D + lmbda * bpp."""

    kind: DoseKind
    grid: float | None
    blob: bytes | None
    distortion: float
    cost: float


def dose_blob(run: Overfit, base: LoadedBase, grid: float, epoch: int) -> bytes:
    """The run's present changes, rounded to ``grid`` and coded."""
    tensors = []
    for number, slot in enumerate(base.document.tensors):
        values = torch.round(on_grid(run.u[slot.name].detach().cpu(), grid) / grid).to(torch.int32).numpy()
        if values.any():
            tensors.append(Add(number, step_of(code_of(grid * run.rms[slot.name])), values))
    return pack_dose(Dose(base.prefix, epoch, DoseKind.FULL, tuple(tensors)), base)


def weigh_dose(
    run: Overfit, base: LoadedBase, grid: float, epoch: int, lmbda: float, tiles: int
) -> Candidate:
    """Code the present changes on a grid and measure both sides of the bargain."""
    blob = dose_blob(run, base, grid, epoch)
    distortion = run.score(run.weights(grid), run.sample(tiles))
    return Candidate(DoseKind.FULL, grid, blob, distortion, distortion + lmbda * bits_per_pixel(run, blob))


def weigh_nothing(run: Overfit, tiles: int) -> Candidate:
    """The generic student, which costs no byte."""
    distortion = run.score(run.generic, run.sample(tiles))
    return Candidate(DoseKind.NONE, None, None, distortion, distortion)


def bits_per_pixel(run: Overfit, blob: bytes) -> float:
    """A blob's size spread over all pixels of the sequence."""
    pixels = sum(target.x_hat.shape[0] * target.x_hat.shape[1] for target in run.targets)
    return 8.0 * len(blob) / pixels
