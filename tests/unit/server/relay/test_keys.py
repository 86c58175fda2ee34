"""Viewers' keys: the upstream decides, seldom asked; nothing of a key is kept but its hash."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing

import pytest

from microdose.errors import BadUpstream, Unavailable
from microdose.problem import ProblemError
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Policy
from microdose_server.relay.keys import Keys
from microdose_server.relay.upstream import Upstream
from tests.loopback import Loopback, Reply, Request, json_reply, problem_reply

pytestmark = pytest.mark.anyio
OWN, VIEWER, STRANGER = (f"md_{12 * letter}_{43 * letter}" for letter in "avs")


def issuer(request: Request) -> Reply:
    """Knows two keys."""
    token = request.headers["authorization"].removeprefix("Bearer ")
    if token not in (OWN, VIEWER):
        return problem_reply("unauthorized", "no such key")
    return json_reply({"id": token[3:15], "scopes": ["view"], "created": "2026-01-01T00:00:00Z"})


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(issuer) as server:
        yield server


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
async def keys(server: Loopback, now: list[float]) -> AsyncIterator[Keys]:
    policy = Policy(fresh_s=60, stale_s=600, most=100, clock=lambda: now[0])
    async with aclosing(Upstream(server.url, OWN)) as upstream, Flights() as flights:
        yield Keys(upstream, flights, policy)


def asked(server: Loopback) -> list[str]:
    return [request.headers["authorization"].removeprefix("Bearer ") for request in server.requests]


async def test_the_upstream_is_asked_once_a_minute(keys: Keys, server: Loopback, now: list[float]) -> None:
    for _ in range(3):
        assert (await keys.verify(VIEWER)).id == 12 * "v"
    assert asked(server) == [VIEWER]
    now[0] = 60.0
    await keys.verify(VIEWER)
    assert asked(server) == [VIEWER, VIEWER]
    assert {request.path for request in server.requests} == {"/v1/key"}


async def test_the_own_key_is_another(keys: Keys, server: Loopback) -> None:
    assert (await keys.own()).id == 12 * "a"
    assert (await keys.verify(VIEWER)).id == 12 * "v"
    assert asked(server) == [OWN, VIEWER]


async def test_a_stranger_is_told_in_the_upstreams_words(keys: Keys) -> None:
    for _ in range(2):
        with pytest.raises(ProblemError, match="no such key") as caught:
            await keys.verify(STRANGER)
        assert caught.value.problem.slug == "unauthorized"


@pytest.mark.parametrize("token", ["", "md_x_y", "Bearer", VIEWER + "v", VIEWER.upper(), "md_\r\n"])
async def test_what_is_no_key_is_not_passed_on(keys: Keys, server: Loopback, token: str) -> None:
    with pytest.raises(ProblemError):
        await keys.verify(token)
    assert server.requests == []


async def test_while_the_upstream_is_away_those_who_are_known_may_stay(
    keys: Keys, server: Loopback, now: list[float]
) -> None:
    await keys.verify(VIEWER)
    server.answer = lambda request: Reply(502)
    now[0] = 599.0
    await keys.verify(VIEWER)
    with pytest.raises(Unavailable):
        await keys.verify(STRANGER)
    now[0] = 1200.0
    with pytest.raises(Unavailable):
        await keys.verify(VIEWER)


async def test_one_that_was_revoked_ends_within_the_minute(
    keys: Keys, server: Loopback, now: list[float]
) -> None:
    await keys.verify(VIEWER)
    server.answer = lambda request: problem_reply("unauthorized", "revoked")
    now[0] = 60.0
    with pytest.raises(ProblemError, match="revoked"):
        await keys.verify(VIEWER)
    server.answer = lambda request: Reply(502)
    with pytest.raises(Unavailable):
        await keys.verify(VIEWER)


async def test_an_upstream_that_knows_no_keys(keys: Keys, server: Loopback) -> None:
    server.answer = lambda request: Reply(body=b"<html>")
    with pytest.raises(BadUpstream, match="does not say whose key"):
        await keys.verify(VIEWER)
