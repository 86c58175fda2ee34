"""Probability tables as integers: made once at export, shipped inside the base, never computed by a decoder.

A table covers consecutive symbols and ends in an escape slot that stands for every other integer:

    symbol      offset  offset+1  ...  offset+len-2  | any other
    frequency   f[0]    f[1]      ...  f[len-2]      | f[len-1]        each >= 1, sum 2^16
"""

import math
from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
from pydantic import Field, model_validator

from microdose.document import Document

TOTAL = 2**16
MAX_SUPPORT = 128
TAIL = 2.0**-24

Tail = Callable[[float], float]
Frequency = Annotated[int, Field(ge=1, lt=TOTAL)]
Frequencies = Annotated[tuple[Frequency, ...], Field(min_length=2, max_length=4096)]


class TableSet(Document):
    """Rows of frequencies with the symbol that each row's first slot stands for."""

    offset: tuple[Annotated[int, Field(ge=-(2**20), le=2**20)], ...] = Field(min_length=1, max_length=4096)
    frequency: tuple[Frequencies, ...] = Field(min_length=1, max_length=4096)

    @model_validator(mode="after")
    def _check(self) -> "TableSet":
        if len(self.offset) != len(self.frequency):
            raise ValueError(f"{len(self.offset)} offsets for {len(self.frequency)} rows of frequencies")
        for k, row in enumerate(self.frequency):
            if sum(row) != TOTAL:
                raise ValueError(f"frequencies of row {k} sum to {sum(row)}, not {TOTAL}")
        return self

    def __len__(self) -> int:
        return len(self.offset)


def tables_from_pmf(rows: Sequence[tuple[int, Sequence[float]]]) -> TableSet:
    """Tables for (first symbol, probabilities) pairs; the mass that is missing from 1 goes to the escape."""
    return TableSet(
        offset=tuple(offset for offset, _ in rows),
        frequency=tuple(_quantise([*pmf, max(0.0, 1.0 - math.fsum(pmf))]) for _, pmf in rows),
    )


def gaussian_tables(scales: Sequence[float]) -> TableSet:
    """One table per standard deviation: a zero-mean Gaussian over unit bins (Balle et al., 2018)."""
    return _symmetric_tables(lambda x: 0.5 * math.erfc(x / math.sqrt(2.0)), scales)


def laplace_tables(scales: Sequence[float]) -> TableSet:
    """One table per scale b (mean absolute value): a zero-mean Laplace density over unit bins."""
    return _symmetric_tables(lambda x: 0.5 * math.exp(-x), scales)


def _symmetric_tables(tail: Tail, scales: Sequence[float]) -> TableSet:
    """Tables of a symmetric density, stretched by each scale; tail(x) is P(X > x) for x > 0 at scale 1."""
    return tables_from_pmf([_symmetric_pmf(tail, scale) for scale in scales])


def _symmetric_pmf(tail: Tail, scale: float) -> tuple[int, list[float]]:
    """(first symbol, pmf), cut where what lies outside is less than TAIL."""
    beyond = [tail((k + 0.5) / scale) for k in range(MAX_SUPPORT + 1)]
    reach = next((k for k, mass in enumerate(beyond) if 2.0 * mass < TAIL), MAX_SUPPORT)
    half = [beyond[k - 1] - beyond[k] for k in range(1, reach + 1)]
    return -reach, [*reversed(half), 1.0 - 2.0 * beyond[0], *half]


def _quantise(pmf: Sequence[float]) -> tuple[int, ...]:
    """Integers >= 1 that sum to TOTAL: one count each, the rest by largest remainder."""
    exact = np.asarray(pmf, np.float64) / math.fsum(pmf) * (TOTAL - len(pmf))
    counts = np.floor(exact).astype(np.int64)
    short = TOTAL - len(pmf) - int(counts.sum())
    counts[np.argsort(counts - exact, kind="stable")[:short]] += 1
    return tuple(int(count) + 1 for count in counts)
