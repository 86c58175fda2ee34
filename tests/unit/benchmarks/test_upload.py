"""The benchmark of uploads, small."""

import json
import os

import pytest

from benchmarks.upload import main, peak_mb


def test_a_small_upload_arrives_whole_and_needs_little_memory(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "24", "--megabytes", "6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["frames"], found["lost"]) == (24, 0)
    assert 12 <= found["resumed_at"] <= 24
    assert 5e6 < found["bytes"] < 8e6
    assert 20 < found["api_peak_mb"] < 300
    assert found["decoder_peak_mb"] > 10


def test_the_peak_of_a_process_that_is_gone_is_nothing() -> None:
    assert peak_mb(os.getpid()) > 10
    assert peak_mb(2**30) == 0


def test_pictures_that_no_server_takes_are_not_sent(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--count", "100", "--megabytes", "0.01"]) == 1
    assert "is too small: each side needs at least 16 pixels" in capsys.readouterr().err
