"""Decoding in processes of their own: what a hostile picture breaks is not the API.

    API thread --bytes--> decoder --size and notes, or a refusal--> API thread
                             |
            address space, CPU seconds and time are limited; a decoder that dies
            costs its picture, and the next picture starts another

A decoder knows no key, no Redis and no folder. Starting one takes a few hundred milliseconds, so those for
pictures are kept for the next one; a clip has one of its own.
"""

import io
import math
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from types import TracebackType
from typing import IO, Final, Self

from pydantic import ValidationError

from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import BadPicture, BadUpload, Unavailable
from microdose_server.intake.decoder import LENGTH, Bounds, Verdict
from microdose_server.intake.picture import check_size
from microdose_server.settings import MIB, Limits

BASE_BYTES: Final = 384 * MIB
"""Address space of a decoder with its libraries and one picture file, before any pixel."""
PIXEL_BYTES: Final = 36
"""And for each pixel: four bytes in each of the copies that turning and colour conversion make."""
REUSES: Final = 1000
"""Pictures after which a decoder is replaced: libraries leak."""
ALLOCATOR: Final = {
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": str(64 * MIB),
    "MALLOC_TRIM_THRESHOLD_": str(256 * MIB),
}
"""For glibc: a decoder that waits keeps at most 256 MiB for the next picture."""
COMMAND: Final = ("-P", "-m", "microdose_server.intake.decoder")
PIECE: Final = 1 << 18
MAX_VERDICT: Final = 1 << 16
STOPPED: Final = (
    "its decoder ended without an answer: the picture is damaged, or takes too much memory or time"
)


class Stopped(Exception):
    """A decoder that ended, or talks nonsense, in place of an answer."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A picture that is good. notes: what intake changed. png: a frame of a clip, losslessly."""

    width: int
    height: int
    notes: tuple[str, ...]
    png: bytes = b""


class Sandbox:
    """Decoders under the same limits; a context manager. Safe for threads: each call has one of its own.

    Args:
        limits: what a picture or a clip may be, and how long it may take.
        memory: bytes of address space of one decoder.
    """

    def __init__(self, limits: Limits, *, memory: int | None = None) -> None:
        memory = BASE_BYTES + PIXEL_BYTES * limits.max_pixels if memory is None else memory
        self._bounds = Bounds(limits=limits, memory=memory)
        self._idle: list[_Decoder] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        while self._idle:
            self._idle.pop().end()

    def judge(self, file: IO[bytes]) -> Judged:
        """Decode a picture file, from its beginning.

        Raises:
            BadPicture: as `read_picture`, or its decoder died of it.
            Unavailable: no decoder can be started.
        """
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        if not size:
            raise BadPicture("an empty file is not a picture")
        decoder = self._take()
        try:
            decoder.send(file, size)
            judged = decoder.answer()
        except BaseException as error:
            decoder.end()
            if isinstance(error, Stopped):
                raise BadPicture(str(error)) from None
            raise
        self._give_back(decoder)
        if isinstance(judged, str):
            raise BadPicture(judged)
        return judged

    def frames(self, clip: IO[bytes]) -> Generator[Judged]:
        """The frames of a clip, a file with a descriptor, in order.

        Raises:
            BadUpload: as `read_clip`, or its decoder died of it.
            Unavailable: no decoder can be started.
        """
        clip.flush()
        os.lseek(clip.fileno(), 0, os.SEEK_SET)
        decoder = _Decoder("clip", self._bounds, clip.fileno())
        try:
            while not decoder.is_done():
                judged = decoder.answer()
                if isinstance(judged, str):
                    raise BadUpload(judged)
                yield judged
        except Stopped as error:
            raise BadUpload(str(error)) from None
        finally:
            decoder.end()

    def _take(self) -> "_Decoder":
        """An idle decoder that still lives, or a new one."""
        while self._idle:
            try:
                decoder = self._idle.pop()
            except IndexError:  # another thread was faster
                break
            if decoder.lives:
                return decoder
            decoder.end()
        return _Decoder("pictures", self._bounds, subprocess.PIPE)

    def _give_back(self, decoder: "_Decoder") -> None:
        if decoder.uses < REUSES:
            self._idle.append(decoder)
        else:
            decoder.end()


class _Decoder:
    """One decoder process. `uses` counts its pictures."""

    def __init__(self, mode: str, bounds: Bounds, stdin: int) -> None:
        self.uses = 0
        self._limits = bounds.limits
        self._time_s = bounds.limits.picture_s
        self._left_s = bounds.limits.clip_s if mode == "clip" else math.inf
        command = [sys.executable, *COMMAND, mode, bounds.model_dump_json()]
        try:
            self._process = subprocess.Popen(
                command, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=_surroundings()
            )
        except OSError as error:
            raise Unavailable(f"cannot start a picture decoder: {error}") from error

    @property
    def lives(self) -> bool:
        """Whether it waits for pictures."""
        return self._process.poll() is None

    def send(self, file: IO[bytes], size: int) -> None:
        """Hand over a picture, piece by piece. Raises Stopped."""
        assert self._process.stdin is not None
        self.uses += 1
        with self._time_limit():
            try:
                self._process.stdin.write(LENGTH.pack(size))
                shutil.copyfileobj(file, self._process.stdin, PIECE)
                self._process.stdin.flush()
            except BrokenPipeError:
                raise Stopped(STOPPED) from None

    def is_done(self) -> bool:
        """Whether it has come to the end in order, with nothing more to say. Waits for either."""
        assert isinstance(self._process.stdout, io.BufferedReader)
        with self._time_limit():
            return not self._process.stdout.peek(1) and self._process.wait() == 0

    def answer(self) -> Judged | str:
        """The next picture, or why it is refused. Raises Stopped."""
        with self._time_limit():
            try:
                verdict = Verdict.model_validate_json(self._read(self._length()))
            except ValidationError:
                raise Stopped(STOPPED) from None
            if verdict.size > MAX_BLOB_BYTES:
                raise Stopped(STOPPED)
            png = self._read(verdict.size)
        if verdict.refused is not None:
            return verdict.refused
        try:
            check_size(verdict.width, verdict.height, self._limits)  # hostile bytes may have spoken
        except BadPicture:
            raise Stopped(STOPPED) from None
        return Judged(verdict.width, verdict.height, verdict.notes, png)

    def end(self) -> None:
        """End it, whatever it does."""
        self._process.kill()
        for pipe in (self._process.stdin, self._process.stdout):
            with suppress(BrokenPipeError):  # what was buffered for it
                if pipe is not None:
                    pipe.close()
        self._process.wait()

    def _length(self) -> int:
        (length,) = LENGTH.unpack(self._read(LENGTH.size))
        if length > MAX_VERDICT:
            raise Stopped(STOPPED)
        return int(length)

    def _read(self, count: int) -> bytes:
        assert self._process.stdout is not None
        data = self._process.stdout.read(count)
        if len(data) != count:
            raise Stopped(STOPPED)
        return data

    @contextmanager
    def _time_limit(self) -> Iterator[None]:
        """Kill the process unless the block ends in time; reads and writes then end as well.

        Of a clip's time, what its frames are waited for counts, not what is done with them. Raises Stopped
        where it is over.
        """
        if self._left_s <= 0:
            raise Stopped(STOPPED)
        begun = time.monotonic()
        timer = threading.Timer(min(self._time_s, self._left_s), self._process.kill)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()
            self._left_s -= time.monotonic() - begun


def _surroundings() -> dict[str, str]:
    """What a decoder needs of the environment, which holds secrets; one thread, and memory that it keeps.

    Each thread of an allocator or a library would take address space, which is limited. Memory given back
    after each picture, as is the allocator's way with large pieces, costs more time than to decode a JPEG.
    """
    here = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    names = ("PATH", "HOME", "LANG", "LC_ALL", "LD_LIBRARY_PATH", "TMPDIR")
    kept = {name: os.environ[name] for name in names if name in os.environ}
    return kept | here | ALLOCATOR | {"OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
