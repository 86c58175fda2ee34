import math

import numpy as np
import pytest
from pydantic import ValidationError

from microdose.tables import MAX_SUPPORT, TOTAL, TableSet, gaussian_tables, laplace_tables, tables_from_pmf


def test_rows_must_sum_to_the_total_and_have_an_escape() -> None:
    TableSet(offset=(0,), frequency=((TOTAL - 1, 1),))
    for row in ((TOTAL - 2, 1), (TOTAL,), (TOTAL, 0), (TOTAL + 1, -1)):
        with pytest.raises(ValidationError):
            TableSet(offset=(0,), frequency=(row,))
    with pytest.raises(ValidationError, match="2 offsets for 1 rows"):
        TableSet(offset=(0, 1), frequency=((TOTAL - 1, 1),))


def test_gaussian_tables_follow_the_density() -> None:
    tables = gaussian_tables([0.11, 1.0, 10.0])
    row = np.array(tables.frequency[1]) / TOTAL
    middle = -tables.offset[1]
    assert row[middle] == pytest.approx(math.erf(0.5 / math.sqrt(2)), abs=1e-3)
    assert row[middle + 1] == pytest.approx(row[middle - 1], abs=1e-4)
    spread = np.arange(len(row) - 1) - middle
    assert (row[:-1] * spread**2).sum() == pytest.approx(1.0 + 1 / 12, rel=0.01)


def test_laplace_tables_follow_the_density() -> None:
    tables = laplace_tables([2.0])
    row = np.array(tables.frequency[0]) / TOTAL
    assert row[-tables.offset[0]] == pytest.approx(1 - math.exp(-0.25), abs=1e-3)


def test_wide_tables_are_cut_and_the_escape_takes_the_tail() -> None:
    tables = gaussian_tables([1000.0])
    assert tables.offset == (-MAX_SUPPORT,)
    assert len(tables.frequency[0]) == 2 * MAX_SUPPORT + 2
    assert tables.frequency[0][-1] / TOTAL == pytest.approx(math.erfc(128.5 / 1000 / math.sqrt(2)), rel=0.01)


def test_a_very_narrow_table_makes_zeros_nearly_free() -> None:
    tables = laplace_tables([0.01])
    assert tables.frequency == ((TOTAL - 1, 1),)


def test_any_pmf_is_quantised_without_a_zero() -> None:
    tables = tables_from_pmf([(-1, [1e-12, 1.0 - 2e-12, 1e-12]), (5, [1 / 257] * 257)])
    assert all(min(row) >= 1 and sum(row) == TOTAL for row in tables.frequency)
    assert tables.offset == (-1, 5)


def test_tables_survive_json_and_are_frozen() -> None:
    tables = gaussian_tables([0.5, 2.0])
    assert TableSet.model_validate_json(tables.to_bytes()) == tables
    with pytest.raises(ValidationError, match="frozen"):
        tables.offset = (0,)
