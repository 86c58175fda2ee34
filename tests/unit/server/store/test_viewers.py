"""A viewer's Redis user, on a real server: what it may read, and everything that it may not do."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from microdose import keys
from microdose.errors import BadUpload, NotFound
from microdose_server.store.redis import connect, text
from microdose_server.store.viewers import PREFIX, RULES, Viewers

SEQUENCE = "0" * 26
OPERATIONS = (Path(__file__).parents[4] / "docs" / "operations.md").read_text()
DENIED = [
    ("SET", keys.manifest(SEQUENCE), "x"), ("DEL", keys.manifest(SEQUENCE)),
    ("XADD", keys.events(SEQUENCE), "*", "a", "b"),
    ("GET", keys.fence(SEQUENCE)), ("HGETALL", keys.sequence(SEQUENCE)), ("HGETALL", keys.api_key("x")),
    ("HGETALL", keys.viewers()), ("KEYS", "*"), ("SCAN", "0"), ("INFO",), ("CONFIG", "GET", "*"),
    ("ACL", "LIST"),
    ("PUBLISH", "c", "x"), ("SUBSCRIBE", "c"), ("EVAL", "return 1", "0"), ("FLUSHALL",),
    ("MONITOR",), ("SHUTDOWN",),
    ("CLIENT", "LIST"), ("CLIENT", "KILL", "ID", "1"), ("CLIENT", "PAUSE", "1"), ("CLIENT", "UNBLOCK", "1"),
    ("RANDOMKEY",), ("DBSIZE",), ("OBJECT", "ENCODING", keys.manifest(SEQUENCE)),
]  # fmt: skip


@pytest.fixture
def viewers(bus: redis.Redis) -> Iterator[Viewers]:
    """With one published sequence; no user is left behind."""
    bus.set(keys.manifest(SEQUENCE), "{}")
    bus.xadd(keys.events(SEQUENCE), {"event": "{}"})
    bus.set(keys.fence(SEQUENCE), "1")
    yield Viewers(bus)
    for user in users(bus) - {"default"}:
        bus.acl_deluser(user)


def users(bus: redis.Redis) -> set[str]:
    return {text(user) for user in bus.acl_users()}


def seen_by(url: str, user: str, password: str) -> redis.Redis:
    return connect(url.replace("unix://", f"unix://{user}:{password}@"))


def test_a_viewer_reads_what_is_published(viewers: Viewers, redis_url: str) -> None:
    with seen_by(redis_url, *viewers.create("tv")) as viewer:
        assert viewer.get(keys.manifest(SEQUENCE)) == b"{}"
        assert viewer.xread({keys.events(SEQUENCE): "0"})
        assert viewer.xinfo_stream(keys.events(SEQUENCE))["length"] == 1
        assert viewer.ping()


@pytest.mark.parametrize("command", DENIED, ids=" ".join)
def test_a_viewer_can_do_nothing_else(viewers: Viewers, redis_url: str, command: tuple[str, ...]) -> None:
    with (
        seen_by(redis_url, *viewers.create("tv")) as viewer,
        pytest.raises(redis.exceptions.NoPermissionError),
    ):
        viewer.execute_command(*command)


def test_a_new_password_ends_the_old_one(viewers: Viewers, redis_url: str) -> None:
    old, new = viewers.create("tv"), viewers.create("tv")
    with seen_by(redis_url, *old) as viewer, pytest.raises(redis.AuthenticationError):
        viewer.ping()
    with seen_by(redis_url, *new) as viewer:
        assert viewer.ping()


def test_a_forgotten_viewer_is_put_back_with_its_password(viewers: Viewers, redis_url: str) -> None:
    user, password = viewers.create("tv")
    viewers.client.acl_deluser(user)
    viewers.restore()
    with seen_by(redis_url, user, password) as viewer:
        assert viewer.get(keys.manifest(SEQUENCE)) == b"{}"


def test_a_revoked_viewer_is_not_put_back(viewers: Viewers) -> None:
    user, _ = viewers.create("tv")
    viewers.revoke("tv")
    viewers.restore()
    assert user not in users(viewers.client)
    with pytest.raises(NotFound):
        viewers.revoke("tv")


def test_a_password_is_not_kept(viewers: Viewers) -> None:
    _, password = viewers.create("tv")
    assert password not in map(text, viewers.client.hvals(keys.viewers()))


@pytest.mark.parametrize("name", ["", "Default", "a b", "x" * 33, "a\n", ">x"])
def test_what_is_no_name_is_refused(viewers: Viewers, name: str) -> None:
    with pytest.raises(BadUpload):
        viewers.create(name)


def test_the_documented_rules_are_these() -> None:
    (documented,) = re.findall(r"^ACL SETUSER viewer on >PASSWORD (.+)$", OPERATIONS, re.MULTILINE)
    assert documented == RULES
    assert PREFIX
