"""How good pictures of a sequence are, held against others of the same sequence.

picture n of every reference --embed--> kept for this n --.
                                                          |--> distances --mean over n--> Quality
picture n of every way to show them --embed, one by one --'
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from microdose_server.distil.distance import DISTANCE
from microdose_server.evaluate.metrics import (
    Table,
    dists_table,
    lpips_moved_table,
    lpips_table,
    psnr,
)
from microdose_server.evaluate.sequences import spread
from microdose_server.training.data import Pixels
from microdose_server.training.psnr import psnr_of


@dataclass(frozen=True)
class Quality:
    """Means over pictures: PSNR in dB (of the mean squared error, 100 at most), LPIPS, LPIPS moved (see
    `metrics`), DISTS (None: not measured).
    """

    psnr: float
    lpips: float
    lpips_moved: float
    dists: float | None

    @property
    def distortion(self) -> float:
        """What a dose is trained for: k_M * MSE (0..255) + k_P * LPIPS."""
        error = math.pow(10.0, -self.psnr / 10.0)
        return DISTANCE.k_m * 255.0**2 * error + DISTANCE.k_p * self.lpips


def qualities(
    references: Sequence[Sequence[Pixels]], shown: Sequence[Sequence[Pixels]], dists_of: int
) -> list[list[Quality]]:
    """[s][r]: of the pictures shown[s], held against those of references[r], which are as many.

    DISTS, which is slow, is of `dists_of` pictures, evenly chosen. It takes the most memory: 500 bytes for
    each pixel of one picture of every reference and of one more, however long the sequences are.
    """
    sights = [
        (list(against), list(pictures))
        for against, pictures in zip(zip(*references, strict=True), zip(*shown, strict=True), strict=True)
    ]
    some = [sights[n] for n in spread(len(sights), dists_of)] if dists_of else []
    tables = [[metric(*each) for each in sights] for metric in (_errors, lpips_table, lpips_moved_table)]
    tables.append([dists_table(*each) for each in some])

    def quality(s: int, r: int) -> Quality:
        error, near, moved, dists = ([table[s][r] for table in of_metric] for of_metric in tables)
        return Quality(psnr_of(fmean(error)), fmean(near), fmean(moved), fmean(dists) if dists else None)

    return [[quality(s, r) for r in range(len(references))] for s in range(len(shown))]


def _errors(references: Sequence[Pixels], pictures: Sequence[Pixels]) -> Table:
    """Mean squared errors, as shares of the peak's square."""
    return [[10.0 ** (-psnr(each, picture) / 10.0) for each in references] for picture in pictures]
