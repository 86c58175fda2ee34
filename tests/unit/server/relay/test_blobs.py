"""Blobs of an upstream: fetched once, and not a byte of them unless all are right."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from pathlib import Path

import pytest

from microdose.digest import MAX_BLOB_BYTES, digest_of
from microdose.errors import BadUpstream, MicrodoseError, NotFound, Unavailable
from microdose_server.relay.blobs import Blobs
from microdose_server.relay.cache import BlobCache
from microdose_server.relay.flights import Flights
from microdose_server.relay.upstream import Upstream
from microdose_server.store.blobs import BlobStore
from tests.loopback import Loopback, Reply, problem_reply

pytestmark = pytest.mark.anyio
DATA = bytes(range(256)) * 1000
DIGEST = digest_of(DATA)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(lambda request: Reply(body=DATA)) as server:
        yield server


@pytest.fixture
async def blobs(server: Loopback, tmp_path: Path) -> AsyncIterator[Blobs]:
    cache = BlobCache(BlobStore(tmp_path), MAX_BLOB_BYTES)
    async with aclosing(Upstream(server.url, "k")) as upstream, Flights() as flights:
        yield Blobs(upstream, flights, cache)


async def test_a_blob_is_fetched_once(blobs: Blobs, server: Loopback) -> None:
    async with blobs.held(DIGEST) as found:
        assert not found
        assert blobs.store.get(DIGEST) == DATA
    async with blobs.held(DIGEST) as found:
        assert found
    assert [request.path for request in server.requests] == [f"/v1/blobs/{DIGEST}"]
    assert (blobs.found, blobs.fetched, blobs.fetched_bytes) == (1, 1, len(DATA))


async def test_many_at_once_fetch_once(blobs: Blobs, server: Loopback) -> None:
    async def hold() -> bytes:
        async with blobs.held(DIGEST):
            return blobs.store.get(DIGEST)

    assert await asyncio.gather(*(hold() for _ in range(100))) == 100 * [DATA]
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (Reply(body=DATA + b"!"), BadUpstream),
        (Reply(body=DATA[:-1]), BadUpstream),
        (Reply(body=b""), BadUpstream),
        (Reply(body=DATA[1:] + DATA[:1]), BadUpstream),
        (Reply(body=DATA, length=MAX_BLOB_BYTES + 1), BadUpstream),
        (Reply(206, DATA), BadUpstream),
        (Reply(body=DATA, length=len(DATA) + 1), Unavailable),
        (problem_reply("not-found", "no blob"), NotFound),
        (problem_reply("unavailable", "later"), Unavailable),
    ],
)
async def test_what_is_not_all_of_it_leaves_nothing(
    blobs: Blobs, server: Loopback, reply: Reply, kind: type[MicrodoseError]
) -> None:
    server.answer = lambda request: reply
    with pytest.raises(kind):
        async with blobs.held(DIGEST):
            pass
    assert not [path for path in blobs.store.root.rglob("*") if path.is_file()]
    server.answer = lambda request: Reply(body=DATA)
    async with blobs.held(DIGEST):
        assert blobs.store.get(DIGEST) == DATA


async def test_one_that_went_away_is_fetched_again(blobs: Blobs) -> None:
    async with blobs.held(DIGEST):
        pass
    blobs.store.path(DIGEST).unlink()
    async with blobs.held(DIGEST) as found:
        assert not found
        assert blobs.store.get(DIGEST) == DATA


@pytest.mark.parametrize("name", ["", "sha256:12", "../../key", f"sha512:{64 * '0'}"])
async def test_what_is_no_digest_is_not_asked_for(blobs: Blobs, server: Loopback, name: str) -> None:
    with pytest.raises(NotFound, match="is not a digest"):
        async with blobs.held(name):
            pass
    assert server.requests == []
