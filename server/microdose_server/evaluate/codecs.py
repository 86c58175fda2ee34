"""What people would pick instead of us, given at least as many bytes as we took."""

import bisect
import functools
import importlib.util
import io
from collections.abc import Callable
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from PIL import Image

from microdose_server.evaluate import hevc
from microdose_server.training.data import Pixels


class Codec(StrEnum):
    """By the name that the report has it under; for Pillow's, that is the format's."""

    JPEG = "jpeg"
    WEBP = "webp"
    AVIF = "avif"
    JXL = "jxl"
    X265 = "x265"


# The encoders' own defaults, but for WebP, which is quick enough to try its hardest (0..6).
OPTIONS: dict[Codec, dict[str, Any]] = {
    Codec.JPEG: {"optimize": True},
    Codec.WEBP: {"method": 6},
    Codec.AVIF: {},
    Codec.JXL: {},
}
# Qualities, worst first, in stretches over which bytes only grow. Below 19, JPEG XL codes the picture at half
# its size: at the same bytes that looks far worse than 19 and up. Its 100 is lossless. x265 counts to 51.
STRETCHES: dict[Codec, tuple[range, ...]] = {
    Codec.JPEG: (range(101),),
    Codec.WEBP: (range(101),),
    Codec.AVIF: (range(101),),
    Codec.JXL: (range(19), range(19, 100)),
    Codec.X265: (range(hevc.CRF_MOST + 1),),
}


class Coded(NamedTuple):
    """A whole file as bytes, and the picture uint8 [H, W, 3] it decodes to."""

    data: bytes
    pixels: Pixels


Search = Callable[[int], Coded]
"""What codes one picture to no fewer bytes than it is told."""


def search(pixels: Pixels, codec: Codec) -> Search:
    """`encode_to_bytes` of one picture."""
    return functools.partial(encode_to_bytes, pixels, codec)


def why_absent(codec: Codec) -> str | None:
    """What this machine lacks for a codec; None if it can be used."""
    if codec is Codec.JXL and importlib.util.find_spec("pillow_jxl") is None:
        return "pillow-jxl-plugin is not installed"
    if codec is Codec.X265 and not hevc.available():
        return "this PyAV was built without x265"
    return None


def encode(pixels: Pixels, codec: Codec, quality: int) -> bytes:
    """`pixels` uint8 [H, W, 3] as a file of that codec; `quality` from its `STRETCHES`."""
    if codec is Codec.X265:
        return hevc.encode(pixels, hevc.CRF_MOST - quality)
    _plug_in(codec)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=codec.value, quality=quality, **OPTIONS[codec])
    return file.getvalue()


def decode(data: bytes, codec: Codec, height: int, width: int) -> Pixels:
    """The picture in a file of that codec, uint8 [height, width, 3]."""
    if codec is Codec.X265:
        return hevc.decode(data, height, width)
    _plug_in(codec)
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.convert("RGB"))


def encode_to_bytes(pixels: Pixels, codec: Codec, target: int) -> Coded:
    """The lowest quality that takes no fewer than `target` bytes, so the comparison never favours us.

    Of several stretches the best whose first quality is within the target; where none of its qualities takes
    so many bytes, the first quality of the next. A file of the lowest quality may be far above the target;
    one of the highest stays below it only for targets beyond any sense, and is then what is returned.
    """

    @functools.cache
    def file(quality: int) -> bytes:
        return encode(pixels, codec, quality)

    def size(quality: int) -> int:
        return len(file(quality))

    stretches = STRETCHES[codec]
    within = [n for n, each in enumerate(stretches) if size(each[0]) <= target]
    qualities = [quality for stretch in stretches[max(within, default=0) :] for quality in stretch]
    stretch = stretches[max(within, default=0)]
    best = min(bisect.bisect_left(stretch, target, key=size), len(qualities) - 1)
    data = file(qualities[best])
    return Coded(data, decode(data, codec, *pixels.shape[:2]))


def _plug_in(codec: Codec) -> None:
    if codec is Codec.JXL:
        importlib.import_module("pillow_jxl")  # teaches Pillow the format
