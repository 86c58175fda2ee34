"""From a manifest to pictures: fetch ahead, decode in order, change decoders where an epoch changes.

segments ─► up to AHEAD fetches in flight ─► Decoder(base, dose of the epoch) ─► DecodedPicture
"""

from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from microdose.decoder import Decoder, Timings
from microdose.errors import CorruptStream
from microdose.manifest import Manifest, SegmentEntry
from microdose_client.reader import Reader

AHEAD = 4


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


def play(reader: Reader, manifest: Manifest, threads: int = 0) -> Iterator[DecodedPicture]:
    """The pictures of `manifest`, in order, decoded as they are asked for.

    `threads` is for the synthesis (0: as many as the machine has cores). Memory holds one base, one decoder
    and a few coded segments, however long the sequence is. Raises what the reader and the decoder raise.
    """
    base = reader.base(manifest.base)
    epoch: int | None = None
    for segment, data in _fetched(reader, manifest.segments):
        if segment.epoch != epoch:
            epoch = segment.epoch
            decoder = Decoder(base, *map(reader.kept, manifest.doses(epoch)), threads=threads)
        picture = decoder.decode(data)
        height, width, _ = picture.pixels.shape
        if (width, height) != (segment.width, segment.height):
            raise CorruptStream(
                f"picture {segment.n} is {width}x{height}; the manifest says {segment.width}x{segment.height}"
            )
        yield DecodedPicture(segment.n, segment.name, epoch, len(data), picture.pixels, picture.timings)


def _fetched(reader: Reader, segments: Iterable[SegmentEntry]) -> Iterator[tuple[SegmentEntry, bytes]]:
    """Every segment with its bytes, in order; the next few are fetched while this one is decoded."""
    pool = ThreadPoolExecutor(AHEAD, thread_name_prefix="microdose-fetch")
    waiting: deque[tuple[SegmentEntry, Future[bytes]]] = deque()
    try:
        for segment in segments:
            waiting.append((segment, pool.submit(reader.blob, segment.blob)))
            if len(waiting) == AHEAD:
                segment, data = waiting.popleft()
                yield segment, data.result()
        while waiting:
            segment, data = waiting.popleft()
            yield segment, data.result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
