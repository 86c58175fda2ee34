"""The sequences that are listened to, each followed once however many listen."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Self

from microdose.errors import Removed, Unavailable
from microdose.patience import Retry
from microdose_server.relay.feed import RETRY, Ahead, Feed
from microdose_server.relay.upstream import Upstream

LINGER_S = 30.0
"""How long a sequence is followed after its last listener left: it may just be coming back."""


class Feeds:
    """At most `most` feeds of one upstream. An async context manager that ends them all."""

    def __init__(
        self, upstream: Upstream, most: int, ahead: Ahead, *, retry: Retry = RETRY, linger_s: float = LINGER_S
    ) -> None:
        """`ahead` has a blob fetched, before listeners are told of it."""
        self._upstream, self._most, self._ahead = upstream, most, ahead
        self._retry, self._linger_s = retry, linger_s
        self._feeds: dict[str, Feed] = {}
        self.draining = False

    @property
    def followed(self) -> int:
        """How many sequences are followed."""
        return sum(not feed.over for feed in self._feeds.values())

    @property
    def listening(self) -> int:
        """How many listeners there are."""
        return sum(feed.listeners for feed in self._feeds.values())

    def heard(self, sequence: str) -> int | None:
        """The number of the newest event of a sequence; None if it is not followed."""
        feed = self._feeds.get(sequence)
        return feed.log.newest if feed and not feed.error else None

    @asynccontextmanager
    async def following(self, sequence: str, newest: int) -> AsyncIterator[Feed]:
        """Listen to a sequence whose newest event is number `newest`, as far as one knows.

        Raises as `Upstream`; Unavailable beyond the most, or while this ends.
        """
        feed = self._feeds.get(sequence)
        if feed and feed.removed:
            raise Removed(f"sequence {sequence} was removed")
        if feed is None or feed.over:
            feed = self._begin(sequence, newest)
        feed.listeners += 1
        try:
            await feed.standing()
            yield feed
        finally:
            feed.listeners -= 1
            if not feed.listeners:
                asyncio.get_running_loop().call_later(self._linger_s, self._leave, sequence, feed)

    def drain(self) -> None:
        """End every feed, now and from now on; its listeners see that it is over."""
        self.draining = True
        for feed in self._feeds.values():
            feed.end()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.drain()
        await asyncio.gather(*(feed.end() for feed in self._feeds.values()), return_exceptions=True)

    def _begin(self, sequence: str, newest: int) -> Feed:
        if self.draining:
            raise Unavailable("this relay is about to stop; try again")
        if len(self._feeds) >= self._most:
            idle = [name for name, feed in self._feeds.items() if not feed.listeners]
            if not idle:
                raise Unavailable(f"this relay follows {self._most} sequences, the most allowed here")
            self._feeds.pop(idle[0]).end()
        feed = self._feeds[sequence] = Feed(self._upstream, sequence, newest, self._ahead, self._retry)
        return feed

    def _leave(self, sequence: str, feed: Feed) -> None:
        if not feed.listeners and self._feeds.get(sequence) is feed:
            del self._feeds[sequence]
            feed.end()
