import json
import os
import signal

from benchmarks.parts.asking import ask
from benchmarks.parts.plant import API
from benchmarks.parts.requests import requests
from benchmarks.parts.stage import error_of, staged
from microdose_server.store.lock import poll


def test_an_api_understands_every_valid_request() -> None:
    with staged() as stage:
        statuses = {}
        for name, data in requests(stage.scene).items():
            tries = (ask(stage.scene, data) for _ in range(2))
            statuses[name] = next((status for status in tries if status is not None), None)
        assert statuses.pop("complete") in (422, None)  # which lacks the frames before number 7
        assert set(statuses.values()) <= {200, 201, 202, 204, 206, 304, None}, statuses
        assert stage.complaints() == []
        assert stage.peak_mb() > 0


def test_an_api_that_died_is_told_and_started_again() -> None:
    with staged() as stage:
        dead = stage.plant.pid(API)
        os.kill(dead, signal.SIGKILL)
        assert poll(lambda: stage.complaints() == ["api has ended"], 60)
        assert stage.plant.pid(API) != dead
        assert ask(stage.scene, requests(stage.scene)["sequences"]) in (200, None)


def test_errors_in_the_log_are_found() -> None:
    line = {"level": "error", "message": "unforeseen", "error": "Traceback\n  File\nKeyError: 1"}
    assert error_of(json.dumps(line)) == "unforeseen: Traceback\n  File\nKeyError: 1"
    assert error_of(json.dumps(line | {"level": "warning"})) is None
    assert error_of("microdose-server is ready at http://x\n") is None
    assert error_of("Fatal Python error\n") == "unexpected: Fatal Python error\n"
