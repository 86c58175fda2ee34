"""From actions to pictures: fetch ahead, build decoders aside, decode in order.

    actions ─► feeder ─┬─ Announce ─► fetch doses, build a decoder ───┐      (tasks of a Crew)
                       └─ Show ─────► fetch the segment ─► queue ─────┴─► decode in a thread ─► DecodedPicture

An epoch's decoder is built as soon as it is announced, and used from the epoch's first picture on. Memory
holds one base, two decoders and a few coded segments, however long the sequence is: the feeder rests while
`AHEAD` pictures wait, and while `DECODERS` decoders are under construction.
"""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable
from dataclasses import dataclass, field
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microdose.base import Descriptor, LoadedBase
from microdose.decoder import Decoder, Picture, Timings
from microdose.dose import parse_dose
from microdose.errors import CorruptStream, DoseMismatch, NotFound
from microdose.manifest import Manifest, SegmentEntry
from microdose.segment import parse_segment
from microdose_client.crew import Crew, outcome
from microdose_client.place import Action, Announce, Place, Show
from microdose_client.reader import Reader
from microdose_client.threads import in_thread

AHEAD = 4
DECODERS = 2

Doses = tuple[Descriptor, ...]
Gone = Callable[[SegmentEntry], Awaitable[bool]]


async def never(segment: SegmentEntry) -> bool:
    """No picture may be missing."""
    return False


@dataclass(frozen=True, eq=False)
class DecodedPicture:
    """One picture of a sequence, ready to show."""

    n: int
    """Its place in the sequence, from 0."""
    name: str | None
    """The display name that its publisher gave it; not fit for a path."""
    epoch: int
    """The dose epoch it was coded for."""
    size: int
    """Bytes of its segment."""
    pixels: NDArray[np.uint8] = field(repr=False)
    """uint8[height, width, 3], sRGB."""
    timings: Timings = field(repr=False)
    """Milliseconds of entropy decoding, hyper-synthesis and synthesis."""
    published: float | None = None
    """When, in seconds since 1970 by the server's clock; known only of pictures that came while following."""
    discontinuity: str | None = None
    """Why it does not go on from the picture before, where it does not."""


class _Coded(NamedTuple):
    show: Show
    data: "asyncio.Task[bytes]"
    decoder: "asyncio.Task[Decoder]"


class Player:
    """Plays one sequence; its tasks are the `crew`'s, and end with it or with the last picture.

    `threads` is for the synthesis; 0: as many as the machine has cores. `gone` tells whether a picture that
    cannot be had may be left out.
    """

    def __init__(
        self, reader: Reader, crew: Crew, base: LoadedBase, threads: int = 0, gone: Gone = never
    ) -> None:
        self._reader, self._crew, self._base = reader, crew, base
        self._threads, self._gone = threads, gone
        self._queue: asyncio.Queue[_Coded | None] = asyncio.Queue()
        self._room, self._builders = asyncio.Semaphore(AHEAD), asyncio.Semaphore(DECODERS)
        self._decoders: dict[tuple[int, Doses], asyncio.Task[Decoder]] = {}

    async def play(self, actions: AsyncGenerator[Action]) -> AsyncGenerator[DecodedPicture]:
        """The pictures that `actions` ask for, decoded as they are asked for.

        Raises what `actions`, the reader and the decoder raise, after the pictures before it.
        """
        feeder = self._crew.start(self._feed(actions))
        try:
            while (coded := await self._queue.get()) is not None:
                self._room.release()
                if (picture := await self._decode(coded)) is not None:
                    yield picture
            await outcome(feeder)
        finally:
            await self._crew.close()

    async def _feed(self, actions: AsyncGenerator[Action]) -> None:
        try:
            async for action in actions:
                if isinstance(action, Announce):
                    await self._decoder(action.epoch, action.doses)
                    continue
                await self._room.acquire()
                data = self._crew.start(self._reader.blob(action.segment.blob))
                decoder = await self._decoder(action.segment.epoch, action.doses)
                self._queue.put_nowait(_Coded(action, data, decoder))
        finally:
            self._queue.put_nowait(None)
            await actions.aclose()

    async def _decoder(self, epoch: int, doses: Doses) -> "asyncio.Task[Decoder]":
        """The decoder of an epoch, done or under construction; the one used longest ago makes room.

        One whose dose could not be had ahead of time is tried again.
        """
        key = epoch, doses
        task = self._decoders.pop(key, None)
        if task is None or _failed(task):
            await self._builders.acquire()
            task = self._crew.start(self._build(epoch, doses))
            task.add_done_callback(lambda _: self._builders.release())
        self._decoders[key] = task
        if len(self._decoders) > DECODERS:
            del self._decoders[next(iter(self._decoders))]
        return task

    async def _build(self, epoch: int, doses: Doses) -> Decoder:
        blobs = [await self._reader.kept(dose) for dose in doses]
        return await in_thread(_decoder_of, self._base, epoch, blobs, self._threads)

    async def _decode(self, coded: _Coded) -> DecodedPicture | None:
        """The picture, or None if it is gone for good."""
        segment = coded.show.segment
        try:
            data, decoder = await outcome(coded.data), await outcome(coded.decoder)
        except NotFound:
            if await self._gone(segment):
                return None
            raise
        picture = await in_thread(_paint, decoder, segment, data)
        return DecodedPicture(
            n=segment.n,
            name=segment.name,
            epoch=segment.epoch,
            size=len(data),
            pixels=picture.pixels,
            timings=picture.timings,
            published=coded.show.published,
            discontinuity=coded.show.discontinuity,
        )


def _failed(task: "asyncio.Task[Decoder]") -> bool:
    return task.done() and (task.cancelled() or task.exception() is not None)


def _decoder_of(base: LoadedBase, epoch: int, doses: list[bytes], threads: int) -> Decoder:
    """Raises DoseMismatch for a dose that was made for another epoch, and as `Decoder`."""
    if doses and (found := parse_dose(doses[-1], base).epoch) != epoch:
        raise DoseMismatch(f"the manifest gives epoch {epoch} the dose of epoch {found}: nothing is decoded")
    return Decoder(base, *doses, threads=threads)


def _paint(decoder: Decoder, segment: SegmentEntry, data: bytes) -> Picture:
    """Decode a segment that is what the manifest says it is, else CorruptStream."""
    header = parse_segment(data).header
    if (header.width, header.height) != (segment.width, segment.height):
        size = f"{header.width}x{header.height}; the manifest says {segment.width}x{segment.height}"
        raise CorruptStream(f"picture {segment.n} is {size}")
    if header.epoch != segment.epoch:
        raise CorruptStream(
            f"picture {segment.n} was coded for epoch {header.epoch}; the manifest says {segment.epoch}"
        )
    return decoder.decode(data)


async def snapshot(manifest: Manifest) -> AsyncGenerator[Action]:
    """The actions that show every picture a manifest has."""
    for action in Place(manifest.sequence).snapshot(manifest):
        yield action
