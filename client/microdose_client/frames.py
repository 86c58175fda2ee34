"""Decoded pictures as a stream of video frames, for ffplay, ffmpeg and whatever else reads a pipe.

y4m   YUV4MPEG2, 4:4:4, BT.601 limited range; `y4m` reads it back
raw   rgb24, one picture after the other
"""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import BinaryIO, TextIO

from microdose.errors import BadPicture
from microdose_client.ycbcr import Pixels, to_yuv


class Form(StrEnum):
    """How frames are written."""

    Y4M = "y4m"
    RAW = "raw"


@contextmanager
def until_closed(stream: TextIO) -> Iterator[None]:
    """Ends in peace when whoever reads `stream` has had enough; what is still buffered then goes nowhere."""
    try:
        yield
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


class Frames:
    """Writes pictures of one size to a pipe, each at once. `fps` is for who plays what was recorded."""

    def __init__(self, stream: BinaryIO, form: Form, fps: int = 25) -> None:
        self._stream, self._form, self._fps = stream, form, fps
        self._size: tuple[int, int] | None = None

    def write(self, pixels: Pixels) -> None:
        """Write sRGB uint8[H,W,3]. Raises BadPicture for another size than the first had; OSError."""
        height, width, _ = pixels.shape
        if self._size is None:
            self._size = width, height
            if self._form is Form.Y4M:
                head = f"YUV4MPEG2 W{width} H{height} F{self._fps}:1 Ip A1:1 C444 XCOLORRANGE=LIMITED\n"
                self._stream.write(head.encode())
        if self._size != (width, height):
            first = "{}x{}".format(*self._size)
            raise BadPicture(f"a picture of {width}x{height} after {first}: frames in a pipe have one size")
        if self._form is Form.Y4M:
            self._stream.write(b"FRAME\n")
            pixels = to_yuv(pixels)
        self._stream.write(pixels.tobytes())
        self._stream.flush()
