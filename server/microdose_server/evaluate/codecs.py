"""What people would pick instead of us: WebP, AVIF and JPEG, each given at least as many bytes as we took."""

import bisect
import io
from enum import StrEnum
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from PIL import Image

Pixels = NDArray[np.uint8]


class Codec(StrEnum):
    WEBP = "webp"
    AVIF = "avif"
    JPEG = "jpeg"


# The encoders' own defaults, but for WebP, which is quick enough to try its hardest (0..6).
OPTIONS: dict[Codec, dict[str, Any]] = {
    Codec.WEBP: {"method": 6},
    Codec.AVIF: {},
    Codec.JPEG: {"optimize": True},
}
QUALITIES = range(0, 101)


class Coded(NamedTuple):
    """A whole file as bytes, and the picture uint8 [H, W, 3] it decodes to."""

    data: bytes
    pixels: Pixels


def encode(pixels: Pixels, codec: Codec, quality: int) -> bytes:
    """`pixels` uint8 [H, W, 3] as a file of that codec; quality 0 (worst) to 100."""
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, format=codec.value, quality=quality, **OPTIONS[codec])
    return file.getvalue()


def encode_to_bytes(pixels: Pixels, codec: Codec, target: int) -> Coded:
    """The lowest quality that takes no fewer than `target` bytes, so the comparison never favours us.

    A file of quality 0 may be far above the target; one of quality 100 stays below it only for
    targets beyond any sense, and is then what is returned.
    """
    tried: dict[int, bytes] = {}

    def size(quality: int) -> int:
        tried[quality] = encode(pixels, codec, quality)
        return len(tried[quality])

    best = min(bisect.bisect_left(QUALITIES, target, key=size), QUALITIES[-1])
    data = tried.get(best) or encode(pixels, codec, best)
    with Image.open(io.BytesIO(data)) as image:
        return Coded(data, np.asarray(image.convert("RGB")))
