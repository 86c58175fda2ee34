"""The program in which strangers' bytes meet decoders: a child of the API with limits and no secrets.

    python -m microdose_server.intake.decoder pictures LIMITS   stdin: length, bytes; length, bytes; …
    python -m microdose_server.intake.decoder clip LIMITS       stdin: the file of the clip

Each answer is a length, a `Verdict` as JSON, and for a frame of a clip the PNG of it. Lengths are four bytes,
little-endian. Who starts it, and what LIMITS are: `sandbox`.
"""

import math
import resource
import signal
import struct
import sys
from collections.abc import Iterator
from typing import BinaryIO, Final

from pydantic import BaseModel, ConfigDict, Field

from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import BadPicture, BadUpload
from microdose_server.settings import Limits

LENGTH: Final = struct.Struct("<I")


class Bounds(BaseModel):
    """What one decoder process takes, and how many bytes of address space it may use."""

    model_config = ConfigDict(frozen=True)

    limits: Limits
    memory: int


class Verdict(BaseModel):
    """What a decoder says of one picture: its size and notes, or why it is refused. `size` bytes follow."""

    model_config = ConfigDict(frozen=True, strict=True)

    width: int = Field(default=0, ge=0)
    height: int = Field(default=0, ge=0)
    notes: tuple[str, ...] = Field(default=(), max_length=32)
    refused: str | None = None
    size: int = Field(default=0, ge=0)


def main(mode: str, bounds: Bounds) -> None:
    """Answer until stdin ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl+C is for the API, which closes stdin
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    answers = {"pictures": pictures, "clip": clip}[mode](bounds.limits)
    if sys.platform == "linux":  # others do not limit address space
        resource.setrlimit(resource.RLIMIT_AS, (bounds.memory, bounds.memory))
    while True:
        _allow_cpu(bounds.limits.picture_cpu_s)
        verdict, data = next(answers, (None, b""))
        if verdict is None:
            return
        message = verdict.model_dump_json().encode()
        sys.stdout.buffer.write(LENGTH.pack(len(message)) + message)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()


def pictures(limits: Limits) -> Iterator[tuple[Verdict, bytes]]:
    """A verdict on each picture that comes in."""
    from microdose_server.intake.picture import read_picture

    while data := _received(sys.stdin.buffer):
        try:
            picture = read_picture(data, limits)
        except BadPicture as error:
            yield Verdict(refused=str(error)), b""
        else:
            yield Verdict(width=picture.width, height=picture.height, notes=picture.notes), b""


def clip(limits: Limits) -> Iterator[tuple[Verdict, bytes]]:
    """A verdict on each frame of the one clip, with its PNG."""
    from microdose_server.intake.clip import read_clip
    from microdose_server.intake.picture import write_png

    try:
        for picture in read_clip(sys.stdin.buffer, limits):
            png = write_png(picture.pixels)
            if len(png) > MAX_BLOB_BYTES:
                raise BadUpload(f"a frame takes {len(png)} bytes as PNG: the limit is {MAX_BLOB_BYTES}")
            size, notes = len(png), picture.notes
            yield Verdict(width=picture.width, height=picture.height, notes=notes, size=size), png
    except BadUpload as error:
        yield Verdict(refused=str(error)), b""


def _received(source: BinaryIO) -> bytes:
    """The next picture; nothing at the end."""
    head = source.read(LENGTH.size)
    return source.read(LENGTH.unpack(head)[0]) if len(head) == LENGTH.size else b""


def _allow_cpu(seconds: float) -> None:
    """Let this process use `seconds` more; then the kernel sends SIGXCPU, which ends it."""
    usage = resource.getrusage(resource.RUSAGE_SELF)
    until = math.ceil(usage.ru_utime + usage.ru_stime + seconds)
    resource.setrlimit(resource.RLIMIT_CPU, (until, resource.RLIM_INFINITY))


if __name__ == "__main__":
    main(sys.argv[1], Bounds.model_validate_json(sys.argv[2]))
