import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from microdose.errors import NotFound
from microdose_server.store.apikeys import ApiKeys, Scope


def test_a_new_key_is_recognised_by_its_token(bus: redis.Redis) -> None:
    key, token = ApiKeys(bus).create([Scope.PUBLISH, Scope.VIEW], "camera")
    assert token.startswith(f"md_{key.id}_")
    assert ApiKeys(bus).verify(token) == key
    assert ApiKeys(bus).all() == [key]


def test_the_secret_is_not_stored(bus: redis.Redis) -> None:
    key, token = ApiKeys(bus).create([Scope.VIEW])
    secret = token.removeprefix(f"md_{key.id}_").encode()
    stored = [value for name in bus.keys("*") if bus.type(name) == b"hash" for value in bus.hvals(name)]
    assert stored
    assert all(secret not in value for value in stored)


def test_a_wrong_secret_is_refused(bus: redis.Redis) -> None:
    _, token = ApiKeys(bus).create([Scope.ADMIN])
    other = token[:-1] + ("A" if token[-1] != "A" else "B")
    assert ApiKeys(bus).verify(other) is None


def test_a_secret_opens_no_other_key(bus: redis.Redis) -> None:
    keys = ApiKeys(bus)
    (one, token), (other, _) = keys.create([Scope.VIEW]), keys.create([Scope.ADMIN])
    assert keys.verify(token.replace(one.id, other.id)) is None


@given(token=st.text(max_size=80) | st.from_regex(r"md_[a-z0-9]{12}_[A-Za-z0-9_-]{43}\n?", fullmatch=True))
def test_what_was_never_given_out_is_refused(redis_url: str, token: str) -> None:
    with redis.Redis.from_url(redis_url) as client:
        assert ApiKeys(client).verify(token) is None


def test_a_revoked_key_is_refused(bus: redis.Redis) -> None:
    key, token = ApiKeys(bus).create([Scope.VIEW])
    ApiKeys(bus).revoke(key.id)
    assert ApiKeys(bus).verify(token) is None
    assert ApiKeys(bus).all() == []
    with pytest.raises(NotFound):
        ApiKeys(bus).revoke(key.id)


@pytest.mark.parametrize(
    ("scopes", "allowed"),
    [([Scope.VIEW], {Scope.VIEW}), ([Scope.PUBLISH], {Scope.PUBLISH}), ([Scope.ADMIN], set(Scope))],
)
def test_admin_includes_the_other_scopes(bus: redis.Redis, scopes: list[Scope], allowed: set[Scope]) -> None:
    key, _ = ApiKeys(bus).create(scopes)
    assert {scope for scope in Scope if key.allows(scope)} == allowed
