"""Real photographs (scikit-learn ships two) and ways to put them into files."""

import io
import tarfile
import zipfile
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

import av
import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.datasets import load_sample_image

Pixels = npt.NDArray[np.uint8]


@cache
def _photograph(name: str) -> Pixels:
    return np.ascontiguousarray(load_sample_image(name), dtype=np.uint8)


def photo(n: int = 0, width: int = 96, height: int = 64, name: str = "china.jpg") -> Pixels:
    """A view of a photograph, uint8 [height, width, 3], with detail and strong colours; `n` pans over it."""
    left = 200 + 8 * n % (440 - width)  # where the pagoda stands
    return _photograph(name)[100 : 100 + height, left : left + width].copy()


def encode(picture: npt.NDArray[Any] | Image.Image, form: str = "PNG", **options: Any) -> bytes:
    """A picture file."""
    image = picture if isinstance(picture, Image.Image) else Image.fromarray(picture)
    out = io.BytesIO()
    image.save(out, form, **options)
    return out.getvalue()


def pack(*members: tuple[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip archive."""
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", method) as archive:
        for name, data in members:
            archive.writestr(name, data)
    return out.getvalue()


def shard(path: Path, *members: tuple[str, bytes], mode: str = "w") -> Path:
    """A tar archive, at `path`."""
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path


def film(frames: int = 6, form: str = "mp4", codec: str = "mpeg4", pixel_format: str = "yuv420p") -> bytes:
    """A clip of 96 x 64 that pans over a photograph: frame k shows `photo(k)`."""
    return clip([photo(n) for n in range(frames)], form, codec, pixel_format)


def clip(
    pictures: Sequence[Pixels], form: str = "mp4", codec: str = "mpeg4", pixel_format: str = "yuv420p"
) -> bytes:
    """A clip of these pictures, all of one size."""
    out = io.BytesIO()
    with av.open(out, "w", format=form) as container:
        stream: Any = container.add_stream(codec, rate=25)
        stream.height, stream.width, _ = pictures[0].shape
        stream.pix_fmt, stream.bit_rate = pixel_format, 8_000_000
        for pixels in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
        container.mux(stream.encode(None))
    return out.getvalue()


def two_shots() -> list[Pixels]:
    """Fourteen pictures that pan over one photograph, then twelve over the other."""
    return [*(photo(n) for n in range(14)), *(photo(n, name="flower.jpg") for n in range(12))]
