"""Redis first, the server for what Redis has lost."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
from redis.exceptions import NoPermissionError

from microdose import keys
from microdose.problem import ProblemError
from microdose_client import Client, Retry
from microdose_server.store.apikeys import Scope
from microdose_server.store.embedded import EmbeddedValkey
from tests.broadcast import Broadcast
from tests.served import Served
from tests.shelves import KEY, ONCE, HttpShelf, RedisShelf, publish
from tests.tiny_base import TinySequence, tiny_sequence


@pytest.fixture
def http() -> Iterator[HttpShelf]:
    with HttpShelf() as shelf:
        yield shelf


@pytest.fixture
def memory(redis_url: str) -> Iterator[RedisShelf]:
    with RedisShelf(redis_url) as shelf:
        yield shelf


@pytest.fixture
def client(http: HttpShelf, memory: RedisShelf, tmp_path: Path) -> Iterator[Client]:
    with Client(http.url, redis=memory.url(), key=KEY, cache_dir=tmp_path / "cache", retry=ONCE) as client:
        yield client


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(3)


def numbers(client: Client, sequence: TinySequence) -> list[int]:
    return [picture.n for picture in client.pictures(sequence.manifest.sequence, threads=1)]


def test_a_complete_redis_leaves_the_server_in_peace(
    http: HttpShelf, memory: RedisShelf, client: Client, sequence: TinySequence
) -> None:
    publish(memory, sequence)
    assert numbers(client, sequence) == [0, 1, 2]
    assert http.fetched == []


def test_only_what_is_missing_comes_by_http(
    http: HttpShelf, memory: RedisShelf, client: Client, sequence: TinySequence
) -> None:
    publish(memory, sequence)
    publish(http, sequence)
    lost = sequence.manifest.segments[1].blob.digest
    memory.lose_blob(lost)
    assert numbers(client, sequence) == [0, 1, 2]
    assert http.fetched == [f"/v1/blobs/{lost}"]


def test_a_damaged_copy_comes_by_http(
    http: HttpShelf, memory: RedisShelf, client: Client, sequence: TinySequence
) -> None:
    publish(memory, sequence)
    publish(http, sequence)
    first, second = (sequence.manifest.segments[n].blob for n in (0, 1))
    memory.put_blob(first.digest, bytes(first.size))
    memory.put_blob(second.digest, b"short")
    assert numbers(client, sequence) == [0, 1, 2]
    assert sorted(http.fetched) == sorted(f"/v1/blobs/{blob.digest}" for blob in (first, second))


def test_a_sequence_that_redis_does_not_know_comes_by_http(
    http: HttpShelf, client: Client, memory: RedisShelf, sequence: TinySequence
) -> None:
    publish(http, sequence)
    assert numbers(client, sequence) == [0, 1, 2]


def test_a_redis_that_is_away_leaves_all_to_the_server(
    http: HttpShelf, sequence: TinySequence, tmp_path: Path
) -> None:
    publish(http, sequence)
    with Client(http.url, redis="redis://127.0.0.1:1", key=KEY, cache_dir=tmp_path, retry=ONCE) as client:
        assert numbers(client, sequence) == [0, 1, 2]


def test_a_log_that_redis_does_not_have_comes_by_http(
    served: Served, live: Broadcast, tmp_path: Path
) -> None:
    place: dict[str, Any] = {"key": served.token(Scope.VIEW), "cache_dir": tmp_path / "cache"}
    with (
        EmbeddedValkey(tmp_path / "empty") as empty,
        Client(served.url, redis=empty.url, retry=Retry(first_s=0.01), **place) as client,
    ):
        pictures = client.follow(live.sequence, threads=1)
        assert next(pictures).n == 0
        live.picture()
        assert next(pictures).n == 1
        live.picture()
        heard = next(pictures)
        assert (heard.n, heard.published) == (2, 1.002)  # by its event, not by a manifest


FORBIDDEN: list[tuple[str, ...]] = [
    ("GET", keys.fence("x")),
    ("HGETALL", keys.job("x")),
    ("XRANGE", keys.job_events("x"), "-", "+"),
    ("HGETALL", keys.api_key("x")),
    ("SET", keys.manifest("x"), "{}"),
    ("XADD", keys.events("x"), "*", "event", "{}"),
    ("DEL", keys.manifest("x")),
    ("KEYS", "*"),
    ("SCAN", "0"),
    ("PUBLISH", "anything", "x"),
    ("EVAL", "return 1", "0"),
    ("CONFIG", "GET", "*"),
    ("FLUSHALL",),
]


@pytest.mark.parametrize("command", FORBIDDEN, ids=" ".join)
def test_the_viewers_user_may_read_published_keys_only(memory: RedisShelf, command: tuple[str, ...]) -> None:
    with redis.Redis.from_url(memory.url()) as viewer:
        for key, read in ((keys.manifest("x"), viewer.get), (keys.events("x"), viewer.xrange)):
            assert not read(key)
        with pytest.raises(NoPermissionError):
            viewer.execute_command(*command)


def test_a_user_that_may_not_read_is_told(memory: RedisShelf, sequence: TinySequence) -> None:
    url = memory.restrict("blind", "-@all +@connection")
    with Client(redis=url) as blind, pytest.raises(ProblemError) as caught:
        blind.manifest(sequence.manifest.sequence)
    assert caught.value.problem.slug == "forbidden"
