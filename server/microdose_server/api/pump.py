"""One reader of Redis streams per process, fanning out to any number of listeners.

    Redis --XREAD of all followed streams--> pump thread --> a bounded queue per listener --> SSE, long polls

A listener first reads the log itself up to its end, then lives on its queue. One that falls behind loses its
queue, not its place: it goes back to the log. So memory is bounded, and a slow viewer delays nobody.

XREAD waits for ids later than the last one: for ever, where a stream was deleted, or lost with its Redis and
begun anew. So the pump looks, every LOOK_S, whether each stream still reaches as far as it was read.
"""

import asyncio
import json
import logging
import re
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property, partial
from typing import Self, cast

import redis
from anyio import to_thread
from fastapi.sse import format_sse_event

from microdose_server.store.bus import read_stream
from microdose_server.store.redis import Entries, text

BLOCK_S = 0.2
"""One XREAD waits this long; it is also how late a newly followed stream may join."""
RETRY_S = 0.5
LOOK_S = 1.0
PAGE = 500
QUEUE = 1000
START = "0-0"
_ID = re.compile(r"([0-9]{1,20})(?:-([0-9]{1,20}))?")

log = logging.getLogger(__name__)


StreamName = bytes | str | memoryview  # in the terms of redis-py's annotations
StreamId = int | bytes | str | memoryview


class StreamLost(Exception):
    """A stream ends before what was read of it: it is gone, or another one by the same name."""


@dataclass(frozen=True)
class Entry:
    """One entry of a stream. What is made of it is made once, for all listeners."""

    id: str
    data: bytes

    @cached_property
    def type(self) -> str:
        """The kind of event that it holds."""
        return str(json.loads(self.data)["type"])

    @cached_property
    def message(self) -> bytes:
        """The entry as a server-sent event."""
        return format_sse_event(event=self.type, data_str=self.data.decode(), id=self.id)

    @cached_property
    def place(self) -> tuple[int, int]:
        """The id as numbers, to compare."""
        return parse_id(self.id)


@dataclass(eq=False)
class _Listener:
    queue: asyncio.Queue[Entry | None] = field(default_factory=lambda: asyncio.Queue(QUEUE))
    behind: bool = False
    lost: bool = False

    def offer(self, entry: Entry | None) -> None:
        """Hand over an entry (None: wake up), or note that one was missed."""
        try:
            self.queue.put_nowait(entry)
        except asyncio.QueueFull:
            self.behind = True


class Pump:
    """An async context manager; `client` must allow a command to block for BLOCK_S."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._listeners: dict[str, set[_Listener]] = {}
        self._positions: dict[str, str] = {}
        self._lock = threading.Lock()  # guards _positions, which the thread reads and advances
        self._wanted, self._ended = threading.Event(), threading.Event()
        self._thread = threading.Thread(target=self._run, name="pump", daemon=True)
        self.draining = False

    async def __aenter__(self) -> Self:
        self._loop = asyncio.get_running_loop()
        self._thread.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        self.drain()
        self._ended.set()
        self._wanted.set()
        await to_thread.run_sync(self._thread.join)

    @property
    def listening(self) -> int:
        """How many listeners there are."""
        return sum(map(len, self._listeners.values()))

    def drain(self) -> None:
        """End every `follow`, now and from now on. Call it in the event loop."""
        self.draining = True
        for listeners in self._listeners.values():
            for listener in listeners:
                listener.offer(None)

    async def follow(self, key: str, after: str = START, *, quiet_s: float) -> AsyncGenerator[Entry | None]:
        """Every entry of stream `key` later than the id `after`, in order; None after `quiet_s` of silence.

        It ends only when the process drains. Close it (`contextlib.aclosing`) when done early.
        Raises redis.RedisError when Redis is lost, StreamLost.
        """
        while not self.draining:
            async for entry in self._log(key, after):
                after = entry.id
                yield entry
            with self._listening(key, after) as listener:
                async for entry in self._log(key, after):  # what came between reading and listening
                    after = entry.id
                    yield entry
                place = parse_id(after)
                while not (self.draining or (listener.behind and listener.queue.empty())):
                    if listener.lost:
                        raise StreamLost(f"{key} does not reach {after} any more")
                    try:
                        async with asyncio.timeout(quiet_s):
                            live = await listener.queue.get()
                    except TimeoutError:
                        yield None
                        continue
                    if live is not None and live.place > place:
                        after, place = live.id, live.place
                        yield live

    async def last_id(self, key: str) -> str:
        """The id of the stream's newest entry."""
        newest = await to_thread.run_sync(lambda: cast(Entries, self._client.xrevrange(key, count=1)))
        return text(newest[0][0]) if newest else START

    async def _log(self, key: str, after: str) -> AsyncGenerator[Entry]:
        full = True
        while full and not self.draining:
            read = partial(read_stream, self._client, key, after, count=PAGE)
            page = await to_thread.run_sync(read)
            full = len(page) == PAGE
            for after, data in page:
                yield Entry(after, data)

    @contextmanager
    def _listening(self, key: str, after: str) -> Iterator[_Listener]:
        listener = _Listener()
        self._listeners.setdefault(key, set()).add(listener)
        with self._lock:
            self._positions.setdefault(key, after)
        self._wanted.set()
        try:
            yield listener
        finally:
            self._listeners[key].discard(listener)
            if not self._listeners[key]:
                del self._listeners[key]
                with self._lock:
                    del self._positions[key]

    def _run(self) -> None:
        look_at = 0.0
        while not self._ended.is_set():
            with self._lock:
                positions = dict(self._positions)
                if not positions:
                    self._wanted.clear()
            if not positions:
                if not self._ended.is_set():
                    self._wanted.wait()
                continue
            try:
                if time.monotonic() >= look_at:
                    self._look(positions)
                    look_at = time.monotonic() + LOOK_S
                self._read(positions)
            except Exception as error:  # a pump that ended would leave every listener waiting for ever
                log.warning("following streams: %r; trying again", error)
                look_at = 0.0
                self._ended.wait(RETRY_S)

    def _look(self, positions: dict[str, str]) -> None:
        with self._client.pipeline(transaction=False) as pipeline:
            for key in positions:
                pipeline.xrevrange(key, count=1)
            ends = [text(found[0][0]) if found else START for found in pipeline.execute()]
        for (key, position), end in zip(positions.items(), ends, strict=True):
            if is_later(position, end):
                self._move(key, position, end)
                self._loop.call_soon_threadsafe(self._lose, key)

    def _read(self, positions: dict[str, str]) -> None:
        wanted = cast(dict[StreamName, StreamId], positions)
        answer = self._client.xread(wanted, count=PAGE, block=int(BLOCK_S * 1000))
        for name, found in cast(list[tuple[bytes, Entries]], answer):
            key = text(name)
            entries = [Entry(text(entry_id), fields[b"event"]) for entry_id, fields in found]
            self._move(key, positions[key], entries[-1].id)
            self._loop.call_soon_threadsafe(self._deliver, key, entries)

    def _move(self, key: str, old: str, new: str) -> None:
        with self._lock:
            if self._positions.get(key) == old:  # not followed anew in the meantime
                self._positions[key] = new

    def _lose(self, key: str) -> None:
        for listener in self._listeners.get(key, ()):
            listener.lost = True
            listener.offer(None)

    def _deliver(self, key: str, entries: list[Entry]) -> None:
        for listener in self._listeners.get(key, ()):
            for entry in entries:
                listener.offer(entry)


def is_later(one: str, other: str) -> bool:
    """Whether stream id `one` comes after `other`."""
    return parse_id(one) > parse_id(other)


def parse_id(text: str) -> tuple[int, int]:
    """A stream id as its two numbers, of 64 bits each. Raises ValueError for anything else."""
    parts = _ID.fullmatch(text)
    numbers = (int(parts[1]), int(parts[2] or "0")) if parts else (2**64, 0)
    if max(numbers) >= 2**64:
        raise ValueError(f"{text[:50]!r} is no stream id")
    return numbers
