"""Sequences that are listened to: one connection each, no more than allowed, none without a listener."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack, aclosing

import pytest

from microdose.errors import NotFound, Removed, Unavailable
from microdose.ids import new_id
from microdose.patience import Retry
from microdose_server.api.sse import message, opening
from microdose_server.relay.feeds import Feeds
from microdose_server.relay.log import KEEP
from microdose_server.relay.upstream import Upstream
from tests.loopback import Loopback, Reply, Request, problem_reply

pytestmark = pytest.mark.anyio
A, B, C = new_id(), new_id(), new_id()
REMOVED = message("removed", '{"type":"removed"}', "1-0")


def endless(request: Request) -> Reply:
    """Cut off, but only after a while."""
    return Reply(body=opening(), length=1000)


async def nothing(digest: str) -> None:
    """Fetch nothing ahead."""


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(endless) as server:
        yield server


@pytest.fixture
async def upstream(server: Loopback) -> AsyncIterator[Upstream]:
    async with aclosing(Upstream(server.url, "k")) as upstream:
        yield upstream


@pytest.fixture
async def feeds(upstream: Upstream) -> AsyncIterator[Feeds]:
    async with Feeds(upstream, 2, nothing, linger_s=0) as feeds:
        yield feeds


async def test_many_listeners_have_one_feed(feeds: Feeds) -> None:
    async with AsyncExitStack() as stack:
        following = [await stack.enter_async_context(feeds.following(A, 0)) for _ in range(100)]
        assert len({id(feed) for feed in following}) == 1
        assert (feeds.followed, feeds.listening, feeds.heard(A), feeds.heard(B)) == (1, 100, 0, None)
    assert feeds.listening == 0


async def test_it_begins_as_far_back_as_it_keeps(feeds: Feeds, server: Loopback) -> None:
    async with feeds.following(A, 3), feeds.following(B, KEEP + 7):
        begun = {request.path: request.headers["last-event-id"] for request in server.requests}
        assert set(begun.values()) == {"0-0", "7-0"}


async def test_who_comes_back_soon_finds_the_same(upstream: Upstream) -> None:
    async with Feeds(upstream, 2, nothing, linger_s=60) as feeds:
        async with feeds.following(A, 0) as first:
            pass
        async with feeds.following(A, 0) as second:
            assert first is second


async def test_without_listeners_it_ends(feeds: Feeds) -> None:
    async with feeds.following(A, 0) as feed:
        pass
    while not feed.over:
        await feed.news(60)
    assert (feeds.followed, feeds.heard(A)) == (0, None)


async def test_beyond_the_most_there_is_room_in_place_of_one_without_listeners(upstream: Upstream) -> None:
    async with Feeds(upstream, 2, nothing, linger_s=60) as feeds, feeds.following(A, 0):
        async with feeds.following(B, 0):
            with pytest.raises(Unavailable, match="follows 2 sequences, the most"):
                async with feeds.following(C, 0):
                    pass
        async with feeds.following(C, 0):
            assert [feeds.heard(name) for name in (A, B, C)] == [0, None, 0]


async def test_one_that_cannot_be_followed_is_everybodys_error(feeds: Feeds, server: Loopback) -> None:
    server.answer = lambda request: problem_reply("not-found", "no such sequence")

    async def listen() -> None:
        async with feeds.following(A, 0):
            pass

    outcomes = await asyncio.gather(*(listen() for _ in range(10)), return_exceptions=True)
    assert {type(outcome) for outcome in outcomes} == {NotFound}
    assert len(server.requests) == 1
    assert (feeds.heard(A), feeds.listening) == (None, 0)


async def test_one_that_was_lost_is_begun_again(upstream: Upstream, server: Loopback) -> None:
    async with (
        Feeds(upstream, 2, nothing, retry=Retry(first_s=0, outage_s=0)) as feeds,
        feeds.following(A, 0) as first,
    ):
        server.answer = lambda request: Reply(503)
        while not first.over:
            await first.news(60)
        assert feeds.heard(A) is None
        server.answer = endless
        async with feeds.following(A, 0) as second:
            assert first is not second


async def test_one_that_was_removed_is_gone(feeds: Feeds, server: Loopback) -> None:
    server.answer = lambda request: Reply(body=opening() + REMOVED)
    async with feeds.following(A, 0) as feed:
        while not feed.over:
            await feed.news(60)
        assert feeds.heard(A) == 1
        with pytest.raises(Removed):
            async with feeds.following(A, 0):
                pass
    assert len(server.requests) == 1


async def test_draining_ends_all_and_begins_none(feeds: Feeds) -> None:
    async with feeds.following(A, 0) as feed:
        feeds.drain()
        assert await feed.news(60)
        assert feed.over
        with pytest.raises(Unavailable, match="about to stop"):
            async with feeds.following(B, 0):
                pass
