"""What benchmarks with viewers report, and when it is bad."""

import argparse
from typing import Any

import pytest

from microdose_server.evaluate.audience import add_options, complete, paced, report, table


def run(viewers: int, lost: int = 0, repeated: int = 0) -> dict[str, Any]:
    return {"viewers": viewers, "lost": lost, "repeated": repeated}


@pytest.fixture
def args() -> argparse.Namespace:
    parser = argparse.ArgumentParser()
    add_options(parser)
    return parser.parse_args(["--size", "64x48"])


def test_the_figures_are_those_of_the_most_viewers(args: argparse.Namespace) -> None:
    found = report(args, [run(1), run(1000), run(100)])
    assert found["figures"] == run(1000)
    assert [each["viewers"] for each in found["runs"]] == [1, 1000, 100]
    assert (found["pictures"], found["interval_s"], found["size"]) == (40, 1.0, "64x48")


def test_a_table_has_a_column_for_each_run(args: argparse.Namespace) -> None:
    rows = table(report(args, [run(1, lost=3), run(100)])).splitlines()
    viewers, lost, repeated = (row.split() for row in rows)
    assert viewers == ["viewers", "1", "100"]
    assert lost == ["lost", "3", "0"]
    assert repeated == ["repeated", "0", "0"]


def test_nothing_may_be_lost_or_repeated(args: argparse.Namespace) -> None:
    assert complete(report(args, [run(1)]))
    assert not complete(report(args, [run(9, lost=1), run(10)]))
    assert not complete(report(args, [run(9), run(10, repeated=1)]))


def test_what_is_late_comes_at_once() -> None:
    assert list(paced(3, 0.0)) == [0, 1, 2]
