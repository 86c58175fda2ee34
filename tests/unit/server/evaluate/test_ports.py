import socket

import pytest

from microdose_server.evaluate import ports


def test_one_that_is_taken_is_passed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    first = ports.free_port()
    drawn = iter([first - ports.FIRST, first - ports.FIRST, first - ports.FIRST + 1, 7, 8, 9])
    monkeypatch.setattr("secrets.randbelow", lambda most: next(drawn))
    with socket.create_server(("127.0.0.1", first)):
        assert ports.free_port() != first


def test_none_is_one_that_the_system_gives_away() -> None:
    assert ports.FIRST <= ports.free_port() < ports.LAST
