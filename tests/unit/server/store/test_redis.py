import socket

import pytest
import redis

from microdose.errors import Unavailable
from microdose_server.store.redis import address, connect, patiently, ping, redacted


def test_a_blocking_read_longer_than_the_default_timeout_returns_empty(redis_url: str) -> None:
    """redis-py's own default of 5 s would make this raise, after a minute."""
    with connect(redis_url, block_s=6) as client:
        assert not client.xread({"nothing": "$"}, block=6000)


def test_a_missing_server_is_named(tmp_path_factory: pytest.TempPathFactory) -> None:
    with connect("redis://user:secret@127.0.0.1:1/0") as client, pytest.raises(Unavailable) as caught:
        ping(client)
    assert "127.0.0.1:1" in str(caught.value)
    assert "REDIS_URL" in str(caught.value)
    assert "secret" not in str(caught.value)


def test_a_url_of_another_kind_is_refused_without_its_password() -> None:
    with pytest.raises(Unavailable) as caught:
        connect("http://user:secret@example.org")
    assert "secret" not in str(caught.value)


def test_a_server_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("microdose_server.store.redis.COMMAND_S", 0.05)
    with socket.create_server(("127.0.0.1", 0)) as silent:
        client = connect(f"redis://127.0.0.1:{silent.getsockname()[1]}")
        with pytest.raises(Unavailable):
            ping(client)
        client.close()


def test_addresses_do_not_show_passwords() -> None:
    with connect("redis://:pw@localhost:6400/3") as client:
        assert address(client) == "localhost:6400"
    assert redacted("redis://:pw@localhost:6400/3") == "redis://localhost:6400/3"
    assert redacted("unix:///run/x.sock") == "unix:///run/x.sock"


def test_a_redis_that_comes_back_in_time_is_waited_for() -> None:
    answers: list[type[Exception] | None] = [redis.ConnectionError, None]

    def flaky() -> bool:
        if error := answers.pop(0):
            raise error("away")
        return True

    assert patiently(flaky)


def test_a_redis_that_stays_away_is_given_up() -> None:
    def away() -> None:
        raise redis.TimeoutError("too slow")

    with pytest.raises(redis.TimeoutError):
        patiently(away, seconds=0)
