"""One picture as an HEVC intra frame, by x265 inside PyAV: bytes are the bare stream, without a container."""

import io
from typing import Any

import av
import numpy as np

from microdose_server.training.data import Pixels

CRF_MOST = 51
"""x265's constant rate factor runs from 0 (best) to this; of a single frame, only whole numbers differ."""
# No note about the encoder in the stream, and one thread: the rows that x265 codes in parallel cost bytes.
PARAMS = "log-level=none:info=0:keyint=1:pools=none:wpp=0:frame-threads=1"


def available() -> bool:
    """Whether this PyAV was built with x265."""
    return "libx265" in av.codecs_available


def encode(pixels: Pixels, crf: int) -> bytes:
    """`pixels` uint8 [H, W, 3] at x265's default preset, 4:2:0. Odd sides repeat their last row or column."""
    height, width, _ = pixels.shape
    even = np.pad(pixels, ((0, height % 2), (0, width % 2), (0, 0)), "edge")
    file = io.BytesIO()
    with av.open(file, "w", format="hevc") as container:
        options = {"crf": str(crf), "x265-params": PARAMS}
        stream: Any = container.add_stream("libx265", rate=25, options=options)
        stream.height, stream.width, stream.pix_fmt = *even.shape[:2], "yuv420p"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(even, format="rgb24")))
        container.mux(stream.encode(None))
    return file.getvalue()


def decode(data: bytes, height: int, width: int) -> Pixels:
    """The picture in a stream of one, uint8 [height, width, 3]."""
    with av.open(io.BytesIO(data), "r", format="hevc") as container:
        (frame,) = container.decode(video=0)
    return np.ascontiguousarray(frame.to_ndarray(format="rgb24")[:height, :width])
