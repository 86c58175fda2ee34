"""How much of what is wrong with a sequence's pictures moves from one to the next, where the scene does not.

    x[t+1] - x[t]           what changes in truth --.
                                                    |--> root of the mean squared difference
    x_hat[t+1] - x_hat[t]   what is seen to change -'

An error that stays where it is does not count, however large: eyes forgive a blurred wall before a boiling
one. Errors that have nothing to do with each other give sqrt(2) times their root mean square.
"""

import itertools
import math
from collections.abc import Sequence
from statistics import fmean

import numpy as np

from microdose_server.training.data import Pixels


def flicker(references: Sequence[Pixels], shown: Sequence[Pixels]) -> float | None:
    """In levels of 0..255, over all pairs of neighbours; None for a sequence without any of one size."""
    errors = (each.astype(np.int16) - reference for each, reference in zip(shown, references, strict=True))
    moved = [
        float(np.mean(np.square(after - before, dtype=np.float64)))
        for before, after in itertools.pairwise(errors)
        if before.shape == after.shape
    ]
    return math.sqrt(fmean(moved)) if moved else None
