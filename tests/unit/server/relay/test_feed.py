"""A sequence that is followed: resumed where it was, over every kind of loss, until there is nothing more."""

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing
from dataclasses import replace

import pytest

from microdose.base import Descriptor
from microdose.digest import digest_of
from microdose.errors import BadUpstream, MicrodoseError, NotFound, Removed, Unavailable
from microdose.manifest import Event, SegmentEntry
from microdose.patience import Retry
from microdose.sse import Parser
from microdose_server.api.sse import bye, message, opening
from microdose_server.relay.feed import Feed
from microdose_server.relay.log import KEEP
from microdose_server.relay.upstream import Upstream
from tests.loopback import Loopback, Reply, Request, problem_reply

pytestmark = pytest.mark.anyio
SEQUENCE = "01jd3q8v6m4x2z7k9w5t0r1yhc"


async def _at_once(seconds: float) -> None:
    await asyncio.sleep(0)


RETRY = Retry(sleep=_at_once)


def event(seq: int, type: str = "segment") -> bytes:
    return message(type, json.dumps({"seq": seq, "type": type}), f"{seq}-0")


def stream(*parts: bytes) -> Reply:
    return Reply(body=b"".join((opening(), *parts)))


class Script:
    """One reply after the other."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def __call__(self, request: Request) -> Reply:
        return self.replies.pop(0)


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(Script()) as server:
        yield server


@pytest.fixture
async def upstream(server: Loopback) -> AsyncIterator[Upstream]:
    async with aclosing(Upstream(server.url, "k")) as upstream:
        yield upstream


async def nothing(digest: str) -> None:
    """Fetch nothing ahead."""


async def follow(upstream: Upstream, newest: int = 0, retry: Retry = RETRY) -> Feed:
    """A feed that has come to its end."""
    feed = Feed(upstream, SEQUENCE, newest, nothing, retry)
    while not feed.over:
        await feed.news(60)
    return feed


def ids(feed: Feed, after: int = 0) -> list[str] | None:
    page = feed.log.after(after)
    if page is None:
        return None
    return [message.id for event in page for message in Parser().feed(event.message)]


def resumed(server: Loopback) -> list[str]:
    return [request.headers["last-event-id"] for request in server.requests]


async def test_events_are_passed_on_as_they_are(server: Loopback, upstream: Upstream) -> None:
    server.answer = Script(stream(event(4), event(5, "of another time"), event(6, "removed")))
    feed = await follow(upstream, KEEP + 3)
    page = feed.log.after(3)
    assert page is not None
    assert b"".join(told.message for told in page) == event(4) + event(5, "of another time") + event(
        6, "removed"
    )
    assert resumed(server) == ["3-0"]
    assert feed.error is None


async def test_after_every_loss_it_goes_on_where_it_was(server: Loopback, upstream: Upstream) -> None:
    server.answer = Script(
        stream(event(1), event(2)),
        stream(bye()),
        problem_reply("unavailable", "starting"),
        Reply(502, b"<html>"),
        stream(event(2), event(3), b"event: cut sho"),
        Reply(body=opening(), length=1000),
        stream(event(4, "removed")),
    )
    feed = await follow(upstream)
    assert ids(feed) == ["1-0", "2-0", "3-0", "4-0"]
    assert resumed(server) == ["0-0", "2-0", "2-0", "2-0", "2-0", "3-0", "3-0"]


@pytest.mark.parametrize("lost", [False, True])
async def test_what_new_events_announce_is_fetched_before_they_are_told(
    server: Loopback, upstream: Upstream, lost: bool
) -> None:
    blobs = [Descriptor(media_type="x/y", digest=digest_of(bytes((n,))), size=1) for n in range(3)]
    entries = [SegmentEntry(n=n, epoch=0, width=1, height=1, blob=blob) for n, blob in enumerate(blobs)]
    events = [Event(seq=n + 1, type="segment", segment=entry) for n, entry in enumerate(entries[:2])]
    events += [Event(seq=3, type="init", dose=blobs[2]), Event(seq=4, type="removed")]
    told = [message(each.type, each.to_bytes(), f"{each.seq}-0") for each in events]
    server.answer = Script(stream(*told))
    fetched: list[tuple[str, int]] = []

    async def ahead(digest: str) -> None:
        fetched.append((digest, feed.log.newest))
        if lost:
            raise NotFound(digest)

    feed = Feed(upstream, SEQUENCE, 1, ahead, RETRY)
    feed.listeners = 1
    while not feed.over:
        await feed.news(60)
    assert fetched == [(blobs[1].digest, 1), (blobs[2].digest, 2)]
    assert ids(feed) == ["1-0", "2-0", "3-0", "4-0"]


@pytest.mark.parametrize(
    "bad",
    [
        message("segment", '{"seq":2,"type":"segment"}'),
        message("segment", '{"seq":2,"type":"segment"}', "2-1"),
        message("segment", '{"seq":2,"type":"segment"}', "two"),
        message("segment", '{"seq":2,"type":"end"}', "2-0"),
        message("segment", '{"seq":2}', "2-0"),
        message("segment", "[]", "2-0"),
        message("segment", "no JSON", "2-0"),
        message("segment", json.dumps({"type": "segment", "name": 1024 * "x"}), "2-0"),
        message("reset", "{}", "two"),
        bytes(1 << 17),
    ],
)
async def test_what_is_no_event_is_not_passed_on(server: Loopback, upstream: Upstream, bad: bytes) -> None:
    server.answer = Script(stream(event(1), bad, event(9)), stream(event(2, "removed")))
    assert ids(await follow(upstream)) == ["1-0", "2-0"]
    assert resumed(server) == ["0-0", "1-0"]


async def test_what_is_gone_upstream_is_gone_here(server: Loopback, upstream: Upstream) -> None:
    reset = message("reset", "{}", "7-0")
    server.answer = Script(stream(event(1), event(4), reset, event(8), event(9, "removed")))
    feed = await follow(upstream)
    assert (ids(feed, 7), ids(feed, 6), feed.log.era) == (["8-0", "9-0"], None, 0)


async def test_a_log_that_began_anew_is_another_era(server: Loopback, upstream: Upstream) -> None:
    server.answer = Script(stream(event(40), message("reset", "{}", "2-0"), event(3, "removed")))
    feed = await follow(upstream)
    assert (ids(feed, 2), feed.log.era) == (["3-0"], 1)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem_reply("not-found", "no"), NotFound),
        (problem_reply("gone", "no"), Removed),
        (problem_reply("unauthorized", "no"), Unavailable),
        (Reply(500), Unavailable),
        (Reply(404), BadUpstream),
        (Reply(body=bytes(1 << 17)), BadUpstream),
    ],
)
async def test_one_that_cannot_begin_says_why_at_once(
    server: Loopback, upstream: Upstream, reply: Reply, kind: type[MicrodoseError]
) -> None:
    server.answer = Script(reply)
    feed = Feed(upstream, SEQUENCE, 0, nothing, RETRY)
    for _ in range(2):
        with pytest.raises(kind):
            await feed.standing()
    assert len(server.requests) == 1


async def test_a_sequence_that_is_gone_ends_it(server: Loopback, upstream: Upstream) -> None:
    server.answer = Script(stream(event(1)), problem_reply("gone", "it was removed"))
    feed = await follow(upstream)
    assert isinstance(feed.error, Removed)
    assert ids(feed) == ["1-0"]


async def test_an_upstream_that_stays_away_is_given_up(server: Loopback, upstream: Upstream) -> None:
    server.answer = Script(stream(event(1)), Reply(503))
    feed = await follow(upstream, retry=replace(RETRY, outage_s=0))
    assert isinstance(feed.error, Unavailable)
    assert ids(feed) == ["1-0"]


async def test_news_are_waited_for(server: Loopback, upstream: Upstream) -> None:
    again = message("reset", "{}", "1-0")
    server.answer = Script(stream(event(1), event(2)), stream(again), stream(event(2, "removed")))
    feed = Feed(upstream, SEQUENCE, 0, nothing, RETRY)
    await feed.passes(1, 60)
    assert feed.log.newest == 2
    await feed.passes(8, 60)
    assert feed.log.era == 1
    await feed.passes(8, 60)
    assert feed.over


async def test_it_ends_when_it_is_told(server: Loopback, upstream: Upstream) -> None:
    with Loopback(lambda request: Reply(body=opening(), length=1000)) as lasting:
        async with aclosing(Upstream(lasting.url, "k")) as other:
            feed = Feed(other, SEQUENCE, 0, nothing)
            await feed.standing()
            before = feed.over
            feed.end()
            assert await feed.news(60)
            assert (before, feed.over, feed.error) == (False, True, None)
