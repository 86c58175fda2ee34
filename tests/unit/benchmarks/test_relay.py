"""The benchmark of a relay, small: everybody sees everything, and the upstream is asked once."""

import json

import pytest

from benchmarks.relay import main
from tests.nginx import nginx


def test_some_viewers_see_everything_once(capsys: pytest.CaptureFixture[str]) -> None:
    nginx()
    small = ["--pictures", "4", "--interval", "0.1", "--size", "64x48"]
    assert main(["--viewers", "1", "5", *small, "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    one, five = found["runs"]
    assert found["figures"] == five
    assert (one["viewers"], five["viewers"]) == (1, 5)
    for figures in (one, five):
        assert (figures["lost"], figures["repeated"]) == (0, 0)
        assert 0 < figures["p50_ms"] <= figures["p99_ms"]
    assert five["asked_keys"] <= 6
    assert five["asked"] < 5 * one["asked"]
    assert 0 < five["fetched_bytes"] < five["sent_bytes"]


def test_what_cannot_be_measured_is_said(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", "/nowhere")
    monkeypatch.setattr("microdose_server.evaluate.front.PLACES", ("/nowhere",))
    assert main(["--viewers", "1", "--size", "64x48"]) == 1
    assert capsys.readouterr().err == "relay.py: nginx is not installed: apt-get install nginx-light\n"
