"""Reading YUV4MPEG2, the plainest form of video: what `ffmpeg -f yuv4mpegpipe` and most encoders write.

    YUV4MPEG2 W640 H480 F25:1 C420jpeg XCOLORRANGE=LIMITED
    FRAME
    Y', then Cb, then Cr, a byte a sample
    FRAME …

The form cannot say by which matrix its colours were made: BT.601 is assumed, of limited range unless it says
XCOLORRANGE=FULL, as `frames` writes it. Whatever the bytes say, no more is held than one picture takes.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, NamedTuple

import numpy as np
from numpy.typing import NDArray

from microdose.errors import BadUpload
from microdose.segment import MAX_PIXELS, MAX_SIDE
from microdose_client.ycbcr import Pixels, to_rgb

MAX_LINE = 1024
"""Bytes of the line that begins the stream, or a frame."""


class _Chroma(NamedTuple):
    """How many rows and columns of luma share a sample of chroma, and where the first sample of Cb and of Cr
    lies, in luma's rows and columns."""

    rows: int
    columns: int
    cb: tuple[float, float] = (0.0, 0.0)
    cr: tuple[float, float] = (0.0, 0.0)


_JPEG = _Chroma(2, 2, (0.5, 0.5), (0.5, 0.5))
_CHROMA: dict[str, _Chroma | None] = {
    "420": _JPEG,
    "420jpeg": _JPEG,
    "420mpeg2": _Chroma(2, 2, (0.5, 0.0), (0.5, 0.0)),
    "420paldv": _Chroma(2, 2, (1.0, 0.0), (0.0, 0.0)),
    "422": _Chroma(1, 2),
    "444": _Chroma(1, 1),
    "mono": None,
}


@dataclass(frozen=True, slots=True)
class Header:
    """What the first line says. `chroma` is the name after its C."""

    width: int
    height: int
    chroma: str = "420jpeg"
    full: bool = False

    @property
    def chroma_shape(self) -> tuple[int, int]:
        """Rows and columns of Cb, and of Cr; none of a grey picture."""
        layout = _CHROMA[self.chroma]
        return (
            (0, 0) if layout is None else (-(-self.height // layout.rows), -(-self.width // layout.columns))
        )

    @property
    def frame_bytes(self) -> int:
        """Bytes of one picture's samples."""
        rows, columns = self.chroma_shape
        return self.width * self.height + 2 * rows * columns


def read_frames(stream: IO[bytes]) -> Iterator[Pixels]:
    """The pictures of a stream, sRGB uint8[H,W,3], each as soon as it is there.

    Raises BadUpload for what is no YUV4MPEG2 of 8 bits, is larger than a picture may be, or breaks off.
    """
    header = parse_header(_line(stream, "y4m, first line"))
    number = 0
    while line := _line(stream, where := f"y4m, frame {number}"):
        if not re.fullmatch(rb"FRAME( .*)?", line):
            raise BadUpload(f"{where}: it begins with {line[:20]!r}, not with FRAME: the stream is damaged")
        data = stream.read(header.frame_bytes)
        if len(data) < header.frame_bytes:
            raise BadUpload(f"{where}: it breaks off after {len(data)} of {header.frame_bytes} bytes")
        yield _pixels(header, np.frombuffer(data, np.uint8))
        number += 1


def parse_header(line: bytes) -> Header:
    """The first line, without its end. Raises BadUpload."""
    magic, *tagged = line.split(b" ")
    if magic != b"YUV4MPEG2":
        raise BadUpload("not y4m: it must begin with YUV4MPEG2, as `ffmpeg -f yuv4mpegpipe` writes it")
    said = {word[:1]: word[1:] for word in tagged if word[:1] != b"X"}
    chroma = said.get(b"C", b"420jpeg").decode("ascii", "replace")
    if chroma not in _CHROMA:
        raise BadUpload(
            f"y4m of C{chroma[:20]}: only 8 bits are read, of {', '.join(_CHROMA)}; convert it first"
        )
    width, height = _side(said.get(b"W", b"")), _side(said.get(b"H", b""))
    if width * height > MAX_PIXELS:
        raise BadUpload(f"y4m of {width}x{height}: a picture has at most {MAX_PIXELS} pixels")
    return Header(width, height, chroma, b"XCOLORRANGE=FULL" in tagged)


def _side(digits: bytes) -> int:
    if not re.fullmatch(rb"[0-9]{1,5}", digits) or not 1 <= int(digits) <= MAX_SIDE:
        raise BadUpload(f"y4m with a side of {digits[:20]!r}: W and H must be there, from 1 to {MAX_SIDE}")
    return int(digits)


def _line(stream: IO[bytes], where: str) -> bytes:
    """The next line without its end; empty at the end of the stream."""
    line = stream.readline(MAX_LINE)
    if line and not line.endswith(b"\n"):
        raise BadUpload(f"{where}: a line of {len(line)} bytes without an end")
    return line[:-1] or line


def _pixels(header: Header, samples: Pixels) -> Pixels:
    height, width = header.height, header.width
    yuv = np.full((3, height, width), 128, np.float32)
    luma = width * height
    yuv[0] = samples[:luma].reshape(height, width)
    layout = _CHROMA[header.chroma]
    if layout is not None:
        cb, cr = samples[luma:].reshape(2, *header.chroma_shape)
        yuv[1] = _spread(cb, layout, layout.cb, (height, width))
        yuv[2] = _spread(cr, layout, layout.cr, (height, width))
    return to_rgb(yuv, header.full)


def _spread(
    plane: Pixels, layout: _Chroma, first: tuple[float, float], shape: tuple[int, int]
) -> NDArray[np.float32]:
    """Chroma at every pixel, bilinear between its samples."""
    spread = plane.astype(np.float32)
    for axis, (step, size) in enumerate(zip((layout.rows, layout.columns), shape, strict=True)):
        if step > 1:
            at = np.clip((np.arange(size) - first[axis]) / step, 0, spread.shape[axis] - 1).astype(np.float32)
            low = at.astype(int)
            high = np.minimum(low + 1, spread.shape[axis] - 1)
            share = np.expand_dims(at - low, 1 - axis)
            spread = spread.take(low, axis) * (1 - share) + spread.take(high, axis) * share
    return spread
