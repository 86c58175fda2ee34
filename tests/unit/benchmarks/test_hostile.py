import json

import pytest

from benchmarks.hostile import main


def test_a_short_run_finds_nothing(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "300", "--batch", "150", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["inputs"], found["crashes"], found["hangs"]) == (300, 0, 0)
    assert found["broken"] == []
    assert 0 < found["peak_mb"] <= 512


def test_the_time_ends_it_in_the_middle_of_a_batch(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "100000000", "--batch", "100000000", "--minutes", "0.1", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["inputs"] < 100_000_000
