"""The benchmark of faults, small: it counts what it is there to count, and comes to its end."""

import json

import pytest

from benchmarks.faults import Tally, main, parser, result


def test_a_few_kills_lose_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "2", "--publishers", "1", "--workers", "1", "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {found[name] for name in ("lost", "doubled", "corrupt", "stuck")} == {0}
    assert found["kills"] in (2, 3)  # the last may have killed two at once
    assert found["why"] == []
    assert found["sequences"] >= 1
    assert found["recovery_s_p99"] >= found["recovery_s_p50"] > 0


def test_harm_is_counted_with_its_reason() -> None:
    tally = Tally()
    tally.note("lost", 0, "nothing")
    tally.note("lost", 2, "two frames")
    tally.note("stuck", 1, "a job")
    found = result(tally, parser().parse_args([]))
    assert (found["lost"], found["stuck"], found["doubled"]) == (2, 1, 0)
    assert found["why"] == ["lost 2: two frames", "stuck 1: a job"]
    assert found["recovery_s_p99"] == 0
