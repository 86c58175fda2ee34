"""Manifests: as old as a second, but never older than what was heard of the sequence."""

from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from typing import Any

import pytest

from microdose.digest import digest_of
from microdose.document import canonical
from microdose.errors import BadUpstream, NotFound, Removed
from microdose.ids import new_id
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Policy
from microdose_server.relay.manifests import Manifests
from microdose_server.relay.upstream import Upstream
from tests.loopback import Loopback, Reply, Request, problem_reply

pytestmark = pytest.mark.anyio
SEQUENCE = new_id()


class Origin:
    """Answers with its manifest, or that it has not changed."""

    def __init__(self) -> None:
        self.data = manifest(1)
        self.reply: Reply | None = None

    def __call__(self, request: Request) -> Reply:
        if self.reply:
            return self.reply
        etag = f'"{digest_of(self.data)}"'
        if request.headers.get("if-none-match") == etag:
            return Reply(304)
        return Reply(body=self.data, headers={"ETag": etag})


def manifest(seq: int, **changes: Any) -> bytes:
    plain = {"format": "microdose-manifest", "protocol": 1, "sequence": SEQUENCE, "version": seq, "seq": seq}
    return canonical(plain | {"last_event_id": f"{seq}-0", "more": "of a newer time"} | changes)


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def server(origin: Origin) -> Iterator[Loopback]:
    with Loopback(origin) as server:
        yield server


@pytest.fixture
def heard() -> dict[str, int]:
    return {}


@pytest.fixture
def now() -> list[float]:
    return [0.0]


@pytest.fixture
async def manifests(server: Loopback, heard: dict[str, int], now: list[float]) -> AsyncIterator[Manifests]:
    policy = Policy(fresh_s=1, most=1 << 20, clock=lambda: now[0])
    async with aclosing(Upstream(server.url, "k")) as upstream, Flights() as flights:
        yield Manifests(upstream, flights, heard.get, policy)


async def test_its_bytes_are_the_upstreams(manifests: Manifests, origin: Origin) -> None:
    found = await manifests.get(SEQUENCE)
    assert (found.data, found.etag, found.version, found.newest) == (
        origin.data,
        f'"{digest_of(origin.data)}"',
        1,
        1,
    )


async def test_after_a_second_it_is_asked_whether_it_changed(
    manifests: Manifests, origin: Origin, server: Loopback, now: list[float]
) -> None:
    first = await manifests.get(SEQUENCE)
    assert await manifests.get(SEQUENCE) is first
    now[0] = 1.0
    assert await manifests.get(SEQUENCE) is first
    assert [request.headers.get("if-none-match") for request in server.requests] == [None, first.etag]
    origin.data = manifest(2)
    now[0] = 2.0
    assert (await manifests.get(SEQUENCE)).newest == 2


async def test_when_an_event_has_come_it_is_asked_for_at_once(
    manifests: Manifests, origin: Origin, heard: dict[str, int]
) -> None:
    assert (await manifests.get(SEQUENCE)).newest == 1
    origin.data, heard[SEQUENCE] = manifest(2), 2
    assert (await manifests.get(SEQUENCE)).newest == 2
    origin.data, heard[SEQUENCE] = manifest(1), 1  # the log began anew
    assert (await manifests.get(SEQUENCE)).newest == 1


async def test_who_knows_of_a_newer_one_gets_it(manifests: Manifests, origin: Origin) -> None:
    assert await manifests.newest(SEQUENCE) == 1
    origin.data = manifest(2)
    assert await manifests.newest(SEQUENCE, at_least=1) == 1
    assert await manifests.newest(SEQUENCE, at_least=2) == 2


async def test_before_the_first_there_is_number_0(manifests: Manifests, origin: Origin) -> None:
    origin.reply = problem_reply("not-found", "not published yet")
    with pytest.raises(NotFound, match="not published yet"):
        await manifests.get(SEQUENCE)
    assert await manifests.newest(SEQUENCE) == 0


async def test_after_the_last_there_is_none(manifests: Manifests, origin: Origin) -> None:
    origin.reply = problem_reply("gone", "it was removed")
    with pytest.raises(Removed):
        await manifests.newest(SEQUENCE)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"{}",
        b"[1]",
        b"no JSON",
        manifest(1)[:-9],
        manifest(1, sequence=new_id()),
        manifest(1, last_event_id="one"),
        manifest(1, version=-1),
        manifest(1, format="another"),
    ],
)
async def test_what_is_no_manifest_of_it(manifests: Manifests, origin: Origin, data: bytes) -> None:
    origin.data = data
    with pytest.raises(BadUpstream, match="manifest of"):
        await manifests.get(SEQUENCE)
