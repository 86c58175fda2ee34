"""Where a shot of a clip ends: by how much more a picture differs from the one before than pictures here do.

Each picture is reduced to a luma thumbnail; two that follow each other differ by the mean absolute
difference of these. A cut is a difference that is large in itself and large against those of the last few
pictures, so that neither a quick pan nor a set of unrelated photographs falls to pieces.
"""

from collections import deque
from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

SIDE = 16
"""Rows and columns of a thumbnail."""
LARGE = 20.0
"""Grey levels of 255 by which two shots differ at least."""
RATIO = 3.0
"""How many times the usual difference a cut is."""
MEMORY = 12
"""Pictures that say what is usual; a shot has at least as many, or shares its dose with the one before."""
LUMA = np.array([0.299, 0.587, 0.114], np.float32)


class ShotDetector:
    """Looks at the pictures of a clip in order."""

    def __init__(self) -> None:
        self._last: NDArray[np.float32] | None = None
        self._usual: deque[float] = deque(maxlen=MEMORY - 1)

    def is_cut(self, pixels: NDArray[np.uint8]) -> bool:
        """Whether a new shot begins with this picture, uint8 [H, W, 3]."""
        seen, last = thumbnail(pixels), self._last
        self._last = seen
        if last is None:
            return False
        difference = float(np.abs(seen - last).mean())
        known = len(self._usual) == self._usual.maxlen
        if known and difference >= max(LARGE, RATIO * float(np.median(self._usual))):
            self._usual.clear()
            return True
        self._usual.append(difference)
        return False


def shots_of(cuts: Sequence[bool]) -> list[range]:
    """The shots of a whole sequence, as ranges of its pictures, from whether each picture is a cut.

    A last shot shorter than MEMORY is part of the one before, as the detector sees to elsewhere.
    """
    starts = [0, *(n for n, cut in enumerate(cuts) if cut and 0 < n <= len(cuts) - MEMORY)]
    return [range(*ends) for ends in pairwise([*starts, len(cuts)])]


def thumbnail(pixels: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Mean luma of SIDE x SIDE fields of a picture, uint8 [H, W, 3]; of its pixels where it is smaller."""
    luma = pixels[:: max(1, pixels.shape[0] // 256), :: max(1, pixels.shape[1] // 256)] @ LUMA
    rows, columns = (np.linspace(0, size, SIDE + 1).astype(int)[:-1] for size in luma.shape)
    sums = np.add.reduceat(np.add.reduceat(luma, rows, axis=0), columns, axis=1)
    counts = np.add.reduceat(np.add.reduceat(np.ones_like(luma), rows, axis=0), columns, axis=1)
    return np.asarray(sums / counts, np.float32)
