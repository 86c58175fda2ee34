"""One sequence's events, read once and told to any number of listeners.

    upstream --one event stream--> Log in memory --wake--> listeners, each with its place in the log

A listener holds a number and no queue: one that is slow costs nothing, and one that is slower than the log is
long is told so. The stream is opened again after every loss, where it was.

What an event announces is fetched before it is told: else all listeners would ask for it at once, and wait.
"""

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import suppress

from pydantic import ValidationError

from microdose.errors import BadUpstream, MicrodoseError, Unavailable
from microdose.manifest import MAX_EVENT_BYTES, Event
from microdose.patience import Retry
from microdose.sse import Message
from microdose_server.api import sse
from microdose_server.api.pump import parse_id
from microdose_server.relay.log import KEEP, Log, Told
from microdose_server.relay.upstream import Upstream
from microdose_server.store.bus import event_id

RETRY = Retry(first_s=0.25, cap_s=5.0, outage_s=60.0)
"""An upstream that is silent for longer than `outage_s` is lost; listeners are sent away, to come back."""

AHEAD_S = 5.0
"""How long an event waits for a blob; then listeners are told anyway."""
Ahead = Callable[[str], Awaitable[None]]
"""Has a blob fetched, by its digest."""

log = logging.getLogger(__name__)


class Feed:
    """A sequence that is followed until it is removed, or lost."""

    def __init__(
        self, upstream: Upstream, sequence: str, newest: int, ahead: Ahead, retry: Retry = RETRY
    ) -> None:
        """Begins at once, in the running event loop, as far before event number `newest` as the log is long.

        What later ones announce is fetched `ahead`.
        """
        self.log = Log(max(newest - KEEP, 0))
        self.listeners = 0
        self.error: MicrodoseError | None = None
        """Why it could not begin, or was given up."""
        self.removed = False
        """Whether the sequence's last event has come."""
        self._upstream, self._sequence, self._retry = upstream, sequence, retry
        self._known, self._ahead = newest, ahead
        self._stands, self._news = asyncio.Event(), asyncio.Event()
        self._task = asyncio.create_task(self._run(), name=f"feed {sequence}")

    @property
    def over(self) -> bool:
        """Whether no more will come."""
        return self._task.done()

    async def standing(self) -> None:
        """Return once the upstream has let us in. Raises what it says if it does not."""
        await self._stands.wait()
        if self.error:
            raise self.error.with_traceback(None)

    async def news(self, seconds: float) -> bool:
        """Wait for a change of the log, or the end; False if there was none for so long."""
        try:
            async with asyncio.timeout(seconds):
                await self._news.wait()
        except TimeoutError:
            return False
        return True

    async def passes(self, seq: int, seconds: float) -> None:
        """Wait, for so long at most, for an event later than number `seq`, another era, or the end."""
        era = self.log.era
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while self.log.newest <= seq and self.log.era == era and not self.over:
                    await self._news.wait()

    def end(self) -> asyncio.Task[None]:
        """Follow no more; the task is done when that is so."""
        self._task.cancel()
        return self._task

    async def _run(self) -> None:
        try:
            await self._follow()
        except MicrodoseError as error:
            log.info("sequence %s is not followed: %s", self._sequence, error)
            self.error = error
        finally:
            self._stands.set()
            asyncio.get_running_loop().call_soon(self._tell)  # once this task is done

    async def _follow(self) -> None:
        tries, heard = 0, time.monotonic()
        while True:
            newest, reason = self.log.newest, "it says goodbye"
            try:
                async with self._upstream.events(self._sequence, event_id(newest)) as messages:
                    async for message in messages:
                        heard = time.monotonic()
                        self._stands.set()
                        if message.event == "bye":
                            break
                        await self._take(message)
                        if message.event == "removed":
                            self.removed = True
                            return
            except (Unavailable, BadUpstream) as error:
                if not self._stands.is_set() or time.monotonic() - heard > self._retry.outage_s:
                    raise
                reason = str(error)
            tries = 1 if self.log.newest != newest else tries + 1
            log.info("sequence %s: upstream lost, try %d: %s", self._sequence, tries, reason)
            await self._retry.pause(tries)

    async def _take(self, message: Message) -> None:
        if not message.event:
            return  # a sign of life
        seq = _number(message)
        if message.event == "reset":
            self.log.restart(seq)
            self._known = seq
        else:
            told = _told(message)
            if seq > self._known and self.listeners:
                await self._fetch(message.data)
            self.log.add(seq, told)
        self._tell()

    async def _fetch(self, data: str) -> None:
        """Have the blobs that an event announces; those that cannot be had are the listeners' affair."""
        for digest in _announced(data):
            with suppress(MicrodoseError, OSError, TimeoutError):
                async with asyncio.timeout(AHEAD_S):
                    await self._ahead(digest)

    def _tell(self) -> None:
        self._news.set()
        self._news = asyncio.Event()


def _number(message: Message) -> int:
    """The number of an event. Raises BadUpstream for an id that has none."""
    try:
        number, part = parse_id(message.id)
    except ValueError:
        part = -1
    if part != 0:
        raise BadUpstream(f"the upstream sends an event with the id {message.id[:50]!r}")
    return number


def _told(message: Message) -> Told:
    """An event as it will be passed on, of whatever type. Raises BadUpstream for what cannot be one."""
    try:
        good = len(message.data.encode()) <= MAX_EVENT_BYTES
        good = good and json.loads(message.data)["type"] == message.event
    except (ValueError, TypeError, KeyError, RecursionError):
        good = False
    if not good:
        raise BadUpstream(f"the upstream sends an event {message.id} that is none")
    return Told(message.event, sse.message(message.event, message.data, message.id))


def _announced(data: str) -> Iterator[str]:
    """The digests that an event names; none of one that this program does not understand."""
    try:
        event = Event.model_validate_json(data)
    except ValidationError:
        return
    if event.dose is not None:
        yield event.dose.digest
    if event.segment is not None:
        yield event.segment.blob.digest
