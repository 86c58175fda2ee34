"""The benchmark of faults, small: it counts what it is there to count, and comes to its end."""

import json

import pytest

from benchmarks import faults
from benchmarks.faults import main, parser, result
from benchmarks.parts.tally import Tally


@pytest.mark.parametrize("live", [0, 1])
def test_a_few_kills_lose_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, live: int
) -> None:
    monkeypatch.setattr(faults, "LIVE_PICTURES", 6)
    senders = ["--publishers", str(1 - live), "--live", str(live), "--workers", "1"]
    assert main([*senders, "--count", "2", "--seed", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {found[name] for name in ("lost", "doubled", "corrupt", "stuck")} == {0}
    assert found["kills"] in (2, 3)  # the last may have killed two at once
    assert found["why"] == []
    assert found["sequences"] >= 1
    assert found["live"] == (found["sequences"] if live else 0)
    assert found["recovery_s_p99"] >= found["recovery_s_p50"] > 0


def test_what_was_found_is_told_with_its_conditions() -> None:
    tally = Tally(recovery_s=[1.0, 3.0])
    tally.note("lost", 2, "two frames")
    found = result(tally, parser().parse_args([]))
    assert (found["lost"], found["why"], found["lease_s"]) == (2, ["lost 2: two frames"], 2.0)
    assert found["recovery_s_p50"] == 2.0
    assert result(Tally(), parser().parse_args([]))["recovery_s_p99"] == 0


def test_something_has_to_be_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--publishers", "0", "--live", "0"]) == 1
    assert "give --publishers or --live" in capsys.readouterr().err
