"""A crowd of viewers in one process. Each has an event stream and a connection for blobs; none decodes.

    who asks --a line of JSON--> crowd --HTTP--> a server, or any web server with the same blobs
             <--a line of JSON--

Two things can be asked for: to `Follow` a live sequence, each viewer fetching every segment as soon as it is
announced, and to `Fetch` blobs over and over. What counts was hashed and is what its digest says.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections.abc import AsyncGenerator, Iterator
from contextlib import AsyncExitStack, aclosing, contextmanager
from dataclasses import asdict, dataclass, field
from functools import lru_cache
from typing import Any

from microdose.digest import verify
from microdose.errors import Unavailable
from microdose.manifest import Event, parse_manifest
from microdose.sse import Message, Parser
from microdose_server.descriptors import raise_limit
from microdose_server.evaluate.wire import Wire

AT_ONCE = 50
"""How many viewers join at a time."""
Answers = AsyncGenerator[dict[str, Any]]


@dataclass(frozen=True)
class Follow:
    """Follow a sequence to its end, a viewer for each key; answered when all have joined, and by a Seen."""

    host: str
    port: int
    sequence: str
    keys: list[str]


@dataclass(frozen=True)
class Fetch:
    """Fetch blobs, {path: digest}, in turns for some seconds, a viewer for each key; answered by a Taken."""

    host: str
    port: int
    blobs: dict[str, str]
    seconds: float
    keys: list[str]


@dataclass
class Seen:
    """What came. delays_ms: from an event's time to its segment's last byte; numbers: each viewer's."""

    delays_ms: list[float] = field(default_factory=list)
    numbers: list[list[int]] = field(default_factory=list)


@dataclass
class Taken:
    """How much came in how much time."""

    size: int
    seconds: float


class Following:
    """All viewers of one Follow."""

    def __init__(self, wish: Follow) -> None:
        self.seen = Seen()
        self._wish = wish
        self._door, self._joined = asyncio.Semaphore(AT_ONCE), asyncio.Semaphore(0)

    async def answers(self) -> Answers:
        """Those of the wish."""
        async with asyncio.TaskGroup() as group:
            for key in self._wish.keys:
                group.create_task(self._view(key))
            for _ in self._wish.keys:
                await self._joined.acquire()
            yield {"joined": len(self._wish.keys)}
        yield asdict(self.seen)

    async def _view(self, key: str) -> None:
        numbers: list[int] = []
        self.seen.numbers.append(numbers)
        parser, wish = Parser(), self._wish
        async with AsyncExitStack() as stack:
            async with self._door:
                blobs = await stack.enter_async_context(Wire.open(wish.host, wish.port, key))
                events = await stack.enter_async_context(Wire.open(wish.host, wish.port, key))
                manifest = parse_manifest(await blobs.get(f"/v1/sequences/{wish.sequence}/manifest"))
                await _blob(blobs, manifest.base.digest)
                path = f"/v1/sequences/{wish.sequence}/events?after={manifest.last_event_id}"
                pieces = await stack.enter_async_context(aclosing(events.stream(path)))
                await anext(pieces)
            self._joined.release()
            async for piece in pieces:
                for message in parser.feed(piece):
                    if message.event == "end":
                        return
                    if message.event == "segment":
                        numbers.append(await self._take(blobs, message))

    async def _take(self, blobs: Wire, message: Message) -> int:
        event = _event(message.data)
        assert event.segment is not None
        assert event.time is not None
        await _blob(blobs, event.segment.blob.digest)
        self.seen.delays_ms.append(1000 * time.time() - event.time)
        return event.segment.n


async def fetch(wish: Fetch) -> Answers:
    """The answer to a Fetch; the clock starts when all are connected."""
    async with AsyncExitStack() as stack:
        wires = [await stack.enter_async_context(Wire.open(wish.host, wish.port, key)) for key in wish.keys]
        begin = time.monotonic()
        end = begin + wish.seconds
        sizes = await asyncio.gather(*(_fill(wire, wish.blobs, n, end) for n, wire in enumerate(wires)))
        yield asdict(Taken(sum(sizes), time.monotonic() - begin))


async def _fill(wire: Wire, blobs: dict[str, str], first: int, end: float) -> int:
    paths, size, n = list(blobs), 0, first
    while time.monotonic() < end:
        path = paths[n % len(paths)]
        data = await wire.get(path)
        verify(data, blobs[path])
        size, n = size + len(data), n + 1
    return size


async def _blob(wire: Wire, digest: str) -> None:
    verify(await wire.get(f"/v1/blobs/{digest}"), digest)


@lru_cache(maxsize=64)
def _event(data: str) -> Event:
    """All viewers are told the same."""
    return Event.model_validate_json(data)


class Crowd:
    """The process, for who asks."""

    def __init__(self, process: "subprocess.Popen[str]") -> None:
        self._process = process

    def follow(self, wish: Follow) -> None:
        """Returns when all have joined; they end with the sequence. Raises Unavailable as `fetch`."""
        self._ask(wish)
        self._answer()

    def seen(self) -> Seen:
        """What came, once the sequence has ended."""
        return Seen(**self._answer())

    def fetch(self, wish: Fetch) -> Taken:
        """How much came. Raises Unavailable if the crowd has died; stderr says of what."""
        self._ask(wish)
        return Taken(**self._answer())

    def _ask(self, wish: Follow | Fetch) -> None:
        assert self._process.stdin is not None
        print(json.dumps({type(wish).__name__: asdict(wish)}), file=self._process.stdin, flush=True)

    def _answer(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        if not line:
            raise Unavailable("the viewers have died")
        answer: dict[str, Any] = json.loads(line)
        return answer


@contextmanager
def crowd() -> Iterator[Crowd]:
    """A crowd in a process of its own, at nobody's command until it is asked."""
    command = [sys.executable, "-m", "microdose_server.evaluate.crowd"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        try:
            yield Crowd(process)
        finally:
            process.terminate()


async def _serve() -> None:
    while line := await asyncio.to_thread(sys.stdin.readline):
        ((kind, fields),) = json.loads(line).items()
        answers = Following(Follow(**fields)).answers() if kind == "Follow" else fetch(Fetch(**fields))
        async for answer in answers:
            print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    raise_limit()
    asyncio.run(_serve())
