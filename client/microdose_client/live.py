"""Publishing a live sequence: pictures go up one by one, as files or arrays, and can be seen seconds later.

    with client.live(name="Garden") as live:         async with client.live(name="Garden") as live:
        for frame in camera:                             async for frame in camera:
            live.put(frame)                                  await live.put(frame)

The sequence ends with the block. Where an error ends the block the sequence stays open for a while, so that
`resume` can go on with it; viewers are then told that something may be missing.
"""

import asyncio
import io
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microdose.errors import BadUpload, MicrodoseError
from microdose.patience import Retry
from microdose.resources import Job, SequenceComplete, SequenceCreate
from microdose_client.api import Api
from microdose_client.outage import outlast
from microdose_client.push import MAX_NAME
from microdose_client.threads import Loop, in_thread

Shown: TypeAlias = "str | Path | bytes | NDArray[np.uint8]"
"""A picture to publish: a file, the bytes of one, or pixels, uint8[H,W,3], sRGB."""


class AsyncLive:
    """A live sequence that is being published.

    `next` is the number of its next picture, `last` the name of the newest one, where it had any.
    """

    def __init__(self, api: Api, retry: Retry, sequence: str, first: int, last: str | None = None) -> None:
        self.sequence, self.next, self.last = sequence, first, last
        self._api, self._retry, self._turn = api, retry, asyncio.Lock()

    async def put(self, picture: Shown, name: str | None = None) -> int:
        """Send the next picture; returns its number once the server has it.

        Waits while the server has as many as it may hold, and while it is away, for `Retry.outage_s` at most.
        Raises BadUpload for what is no picture, and as every call does; a picture that was refused has used
        no number. Called again meanwhile, it waits its turn.
        """
        async with self._turn:
            data, name = await in_thread(_bytes_of, picture, name)
            n = self.next
            put = partial(self._api.put_frame, self.sequence, n, data, name)
            await outlast(self._retry, put)  # the same bytes at the same number: nothing is there twice
            self.next, self.last = self.next + 1, name
            return n

    async def end(self) -> Job:
        """Say that no more will come; returns the job that publishes the sequence."""
        return await outlast(self._retry, partial(self._api.complete, self.sequence, SequenceComplete()))

    def skip(self) -> None:
        """Leave a number out: viewers are told that the next picture does not go on from the last."""
        self.next += 1


class Live:
    """The same for blocking code."""

    def __init__(self, loop: Loop, live: AsyncLive) -> None:
        self._loop, self._live = loop, live

    @property
    def sequence(self) -> str:
        """The sequence's id, for viewers."""
        return self._live.sequence

    @property
    def next(self) -> int:
        """As of `AsyncLive`."""
        return self._live.next

    @property
    def last(self) -> str | None:
        """As of `AsyncLive`."""
        return self._live.last

    def put(self, picture: Shown, name: str | None = None) -> int:
        """As `AsyncLive.put`."""
        return self._loop.run(self._live.put, picture, name)

    def skip(self) -> None:
        """As `AsyncLive.skip`."""
        self._live.skip()


@asynccontextmanager
async def publish_live(
    api: Api, retry: Retry, wish: SequenceCreate, resume: str | None
) -> AsyncIterator[AsyncLive]:
    """Open a live sequence, or go on with `resume`, and complete it at the end."""
    if resume is None:
        live = AsyncLive(api, retry, (await api.create(wish)).id, 0)
    else:
        found = await api.sequence(resume)
        if not found.live:
            raise BadUpload(f"sequence {resume} is not a live one: push its pictures, with resume")
        names = {frame.n: frame.name for frame in await api.frames(resume)}
        live = AsyncLive(api, retry, found.id, found.next, names.get(found.next - 1))
        if found.next:
            live.skip()
    try:
        yield live
    except MicrodoseError as error:
        error.add_note(f"the sequence waits for more: go on with --resume {live.sequence}")
        raise
    await live.end()


@contextmanager
def blocking(loop: Loop, opened: AbstractAsyncContextManager[AsyncLive]) -> Iterator[Live]:
    """`publish_live` for blocking code."""
    live = Live(loop, loop.run(opened.__aenter__))
    try:
        yield live
    except BaseException as error:
        loop.run(opened.__aexit__, type(error), error, error.__traceback__)
        raise
    loop.run(opened.__aexit__, None, None, None)


def _bytes_of(picture: Shown, name: str | None) -> tuple[bytes, str | None]:
    """(the bytes of a picture file, a name to show)."""
    if isinstance(picture, bytes):
        return picture, name
    if isinstance(picture, np.ndarray):
        if picture.dtype != np.uint8 or picture.ndim != 3 or picture.shape[2] != 3:
            raise BadUpload(f"pixels {picture.dtype}{list(picture.shape)}: give uint8 [height, width, 3]")
        out = io.BytesIO()
        Image.fromarray(picture).save(out, "PNG", compress_level=1)
        return out.getvalue(), name
    path = Path(picture)
    try:
        return path.read_bytes(), name or path.name[:MAX_NAME]
    except OSError as error:
        raise BadUpload(f"cannot read {path}: {error.strerror or error}") from error
