"""Numbers and names of the command line: what no run can use is refused where it is parsed."""

import math
import re
from argparse import ArgumentTypeError

from microdose.segment import STRIDE

LEAST_CROP = 64
"""Below this, LPIPS has nothing to compare."""


def count(text: str) -> int:
    """An integer of at least 1."""
    number = int(text)
    if number < 1:
        raise ArgumentTypeError("must be at least 1")
    return number


def none_or_more(text: str) -> int:
    """An integer of at least 0."""
    number = int(text)
    if number < 0:
        raise ArgumentTypeError("must not be negative")
    return number


def positive(text: str) -> float:
    """A finite number above 0."""
    number = weight(text)
    if number == 0.0:
        raise ArgumentTypeError("must be above 0")
    return number


def weight(text: str) -> float:
    """A finite number of at least 0."""
    number = float(text)
    if not math.isfinite(number) or number < 0.0:
        raise ArgumentTypeError("must be a finite number, and not negative")
    return number


def crop_side(text: str) -> int:
    """A side of crops in pixels, which suits the networks."""
    side = int(text)
    if side < LEAST_CROP or side % STRIDE:
        raise ArgumentTypeError(f"must be a multiple of {STRIDE} and at least {LEAST_CROP}")
    return side


def device(text: str) -> str:
    """What computes, by its name; whether it is here is another question."""
    if not re.fullmatch(r"cpu|cuda(:[0-9]+)?", text):
        raise ArgumentTypeError("must be cpu, cuda or cuda:N")
    return text
