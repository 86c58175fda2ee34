"""The benchmark of fan-out, small: everybody sees everything, and all of it is measured."""

import json
from pathlib import Path

import pytest
from PIL import Image

from benchmarks.fanout import main
from tests.nginx import nginx


def test_some_viewers_see_everything_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    nginx()
    plot = tmp_path / "fanout.png"
    small = ["--pictures", "8", "--interval", "0.1", "--seconds", "0.4", "--size", "64x48"]
    assert main(["--viewers", "1", "5", *small, "--output", str(plot), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [figures["viewers"] for figures in found["runs"]] == [1, 5]
    assert found["figures"] == found["runs"][-1]
    for figures in found["runs"]:
        assert (figures["lost"], figures["repeated"]) == (0, 0)
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]
        assert figures["bytes_s"] > 0
        assert figures["ratio_nginx"] > 0
        assert figures["join_ms_p50"] > 0
        assert figures["upgrade_ms_p50"] > 0
    assert found["dose_bytes"] > 1000
    assert found["segment_bytes"] > 100
    with Image.open(plot) as image:
        assert image.format == "PNG"


def test_what_cannot_be_measured_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("microdose_server.evaluate.front.PLACES", ("/nowhere",))
    assert main(["--viewers", "1", "--size", "64x48"]) == 1
    assert capsys.readouterr().err == "fanout.py: nginx is not installed: apt-get install nginx-light\n"
