import math
from statistics import fmean

import numpy as np
import pytest

from microdose_server.evaluate.metrics import dists, lpips, lpips_moved, psnr
from microdose_server.evaluate.quality import Quality, qualities
from microdose_server.training.data import Pixels
from tests.photos import photo

PICTURES = [photo(0, 130, 70), photo(9, 96, 72)]


def changed(by: int, start: int = 0) -> list[Pixels]:
    """The pictures from `start` on, brighter."""
    lighter = [np.clip(picture.astype(int) + by, 0, 255).astype(np.uint8) for picture in PICTURES[start:]]
    return [*PICTURES[:start], *lighter]


def by_hand(reference: list[Pixels], shown: list[Pixels]) -> Quality:
    """Pair by pair; DISTS of the first."""
    pairs = list(zip(reference, shown, strict=True))
    error = fmean(10.0 ** (-psnr(*pair) / 10.0) for pair in pairs)
    near, moved = (fmean(metric(*pair) for pair in pairs) for metric in (lpips, lpips_moved))
    return Quality(-10.0 * math.log10(max(error, 1e-10)), near, moved, dists(*pairs[0]))


def test_it_is_a_mean_and_psnr_that_of_the_mean_error() -> None:
    other = [changed(8)[0], PICTURES[1]]
    ((found,),) = qualities([PICTURES], [other], dists_of=0)
    assert found.lpips == pytest.approx(lpips(PICTURES[0], other[0]) / 2.0, abs=1e-6)
    assert found.psnr == pytest.approx(psnr(PICTURES[0], other[0]) + 10.0 * math.log10(2.0))
    assert found.dists is None
    assert found.distortion == pytest.approx(0.025 / 32 * 255**2 * 10 ** (-found.psnr / 10) + found.lpips)


def test_every_way_is_held_against_every_reference() -> None:
    references = [PICTURES, changed(20)]
    shown = [changed(5), references[1], changed(60), changed(30, start=1), list(PICTURES)]
    found = qualities(references, shown, dists_of=1)
    assert found == [[by_hand(reference, way) for reference in references] for way in shown]
    assert len({row for rows in found for row in rows}) == 8  # 0 twice, and one pair both ways round


def test_a_sequence_is_perfect_to_itself() -> None:
    ((found,),) = qualities([PICTURES], [PICTURES], dists_of=2)
    assert (found.psnr, found.lpips, found.lpips_moved) == (100.0, 0.0, 0.0)
    assert found.dists == pytest.approx(0.0, abs=1e-5)


def test_sequences_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        qualities([PICTURES, PICTURES], [PICTURES[:1]], dists_of=0)
