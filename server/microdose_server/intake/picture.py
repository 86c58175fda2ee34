"""One uploaded picture: eight-bit sRGB, upright, opaque, or a clear refusal.

    bytes -> known format? -> header: size, frames, depth, colour space -> pixels
          -> orientation -> alpha -> ICC -> RGB

The header is judged before any pixel is decoded, so a bomb costs nothing. What is done to a picture
(turned, converted, a channel dropped) is said in its notes; what would lose something is refused.
"""

import io
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from microdose.errors import BadPicture
from microdose.segment import MAX_SIDE, STRIDE
from microdose_server.intake.colour import to_srgb, without_alpha
from microdose_server.intake.kind import HEAD, PICTURE_FORMATS, picture_format
from microdose_server.settings import Limits

MIN_SIDE = STRIDE
"""Pixels; a smaller picture has no latents to speak of."""
DEFAULT_LIMITS = Limits()

# Our own limit is stricter, is an error instead of a warning, and is checked on the header.
Image.MAX_IMAGE_PIXELS = None

_ORIENTATION = 0x0112
_SIDEWAYS = range(5, 9)
"""The EXIF orientations that swap height and width."""
_TIFF_BITS_PER_SAMPLE = 258
_PNG_TURNING = (b"eXIf", *(kind + b"Raw profile type exif" for kind in (b"tEXt", b"zTXt", b"iTXt")),
                b"iTXtXML:com.adobe.xmp")  # fmt: skip
"""Chunks of a PNG from which Pillow takes an orientation."""


@dataclass(frozen=True)
class Picture:
    """A picture as the codec takes it.

    pixels: uint8 [height, width, 3], sRGB. notes: what intake changed, in plain words, in order.
    """

    pixels: npt.NDArray[np.uint8]
    notes: tuple[str, ...] = ()

    @property
    def height(self) -> int:
        """Rows of pixels."""
        return self.pixels.shape[0]

    @property
    def width(self) -> int:
        """Columns of pixels."""
        return self.pixels.shape[1]


def read_picture(data: bytes, limits: Limits = DEFAULT_LIMITS) -> Picture:
    """Decode an uploaded picture. Without an ICC profile its values are taken as sRGB.

    Raises BadPicture if it is no picture in a format we read, is truncated or damaged, animated, deeper
    than 8 bits, CMYK or Lab, not opaque, too small or beyond the limits.
    """
    with _opened(io.BytesIO(data), limits) as (image, notes):
        image.load()
        return _finished(image, notes)


def picture_size(file: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> tuple[int, int]:
    """(height, width) of what `read_picture` would make of a seekable file, told from its header.

    No pixel is decoded, unless some may be transparent. Raises BadPicture for what `read_picture` refuses,
    but for damage behind the header, which stays unseen.
    """
    with _opened(file, limits) as (image, notes):
        if image.has_transparency_data or (image.format == "PNG" and _turned_late(file)):
            image.load()
            picture = _finished(image, notes)
            return picture.height, picture.width
        width, height = image.size
        # The size of a TIFF is that of the upright picture already. PNG's own getexif decodes the pixels.
        turned = image.format != "TIFF" and Image.Image.getexif(image).get(_ORIENTATION) in _SIDEWAYS
        return (width, height) if turned else (height, width)


def write_png(pixels: npt.NDArray[np.uint8]) -> bytes:
    """Lossless bytes of `pixels` (uint8 [h, w, 3]); how a frame of a clip is kept."""
    out = io.BytesIO()
    Image.fromarray(pixels).save(out, "PNG", compress_level=1)
    return out.getvalue()


def check_size(width: int, height: int, limits: Limits) -> None:
    """Raise BadPicture unless a picture of this size can be coded under `limits`."""
    if min(width, height) < MIN_SIDE:
        raise BadPicture(f"{width}x{height} is too small: each side needs at least {MIN_SIDE} pixels")
    if width * height > limits.max_pixels or max(width, height) > MAX_SIDE:
        raise BadPicture(
            f"{width}x{height} is too large: at most {limits.max_pixels} pixels, {MAX_SIDE} a side"
        )


@contextmanager
def _opened(file: BinaryIO, limits: Limits) -> Iterator[tuple[Image.Image, list[str]]]:
    """A picture whose header is judged, and the first notes."""
    size = file.seek(0, io.SEEK_END)
    if size > limits.max_picture_bytes:
        raise BadPicture(f"picture of {size} bytes: the limit is {limits.max_picture_bytes}")
    kind = picture_format(_peek(file, 0, HEAD))
    if kind is None:
        raise BadPicture(f"not a picture we read: send {PICTURE_FORMATS}")
    with _decoding(kind), Image.open(file, formats=[kind]) as image:
        yield image, _judge_header(image, kind, file, limits)


def _peek(file: BinaryIO, offset: int, size: int = -1) -> bytes:
    """Bytes of a file that somebody else is reading."""
    at = file.tell()
    file.seek(offset)
    data = file.read(size)
    file.seek(at)
    return data


@contextmanager
def _decoding(kind: str) -> Iterator[None]:
    """Whatever a decoder throws at hostile bytes becomes BadPicture."""
    try:
        yield
    except BadPicture:
        raise
    except MemoryError as error:
        raise BadPicture(f"{kind} picture needs more memory than there is") from error
    except UnidentifiedImageError as error:  # its message names an object in memory, not a cause
        raise BadPicture(f"{kind} picture is truncated or damaged in its header") from error
    except Exception as error:  # decoders raise OSError, SyntaxError, ValueError, struct.error, KeyError ...
        raise BadPicture(f"{kind} picture is truncated or damaged: {error}") from error


def _judge_header(image: Image.Image, kind: str, file: BinaryIO, limits: Limits) -> list[str]:
    """Refuse by what the header says; returns the first notes."""
    check_size(*image.size, limits)
    frames = getattr(image, "n_frames", 1)
    if frames > 1 and image.format != "MPO":
        raise BadPicture(f"animated or many-paged {kind} of {frames} pictures: send one by one, or as a clip")
    if (bits := _bits_per_sample(image, kind, file)) > 8:
        raise BadPicture(f"{bits} bits per sample: only 8 are coded; convert the picture first")
    if image.mode in ("CMYK", "LAB", "HSV", "RGBa", "La"):
        raise BadPicture(f"{image.mode} colours: convert the picture to RGB first")
    return [f"only the first of the {frames} pictures in this JPEG is used"] if frames > 1 else []


def _bits_per_sample(image: Image.Image, kind: str, file: BinaryIO) -> int:
    """Depth in the file, which Pillow's mode hides: it cuts 16-bit RGB and 10-bit AVIF to 8."""
    if kind == "PNG":
        return _peek(file, 24, 1)[0]  # IHDR is the first chunk, at a fixed place
    if kind == "TIFF":
        return int(max(image.tag_v2.get(_TIFF_BITS_PER_SAMPLE, (8,))))  # type: ignore[attr-defined]
    if kind == "AVIF":
        return _avif_bits(_peek(file, 0))
    return 32 if image.mode[0] in "IF" else 8


def _avif_bits(data: bytes) -> int:
    """Greatest depth among the AV1 configuration boxes (AV1-ISOBMFF 2.3.3) of the file's colour and alpha."""
    bits, at = 8, data.find(b"av1C")
    while at >= 0 and at + 7 <= len(data):
        (flags,) = struct.unpack_from("B", data, at + 6)
        high, twelve = flags & 0x40, flags & 0x20
        bits = max(bits, 12 if high and twelve else 10 if high else 8)
        at = data.find(b"av1C", at + 4)
    return bits


def _turned_late(file: BinaryIO) -> bool:
    """Whether a PNG has chunks behind its pixels that may say how it is turned."""
    before, at, behind = file.tell(), 8, False
    late = False
    while not late and file.seek(at) == at and len(head := file.read(32)) >= 8:
        (length,) = struct.unpack_from(">I", head)
        behind = behind or head[4:8] == b"IDAT"
        late = behind and head[4:].startswith(_PNG_TURNING)
        at += 12 + length
    file.seek(before)
    return late


def _finished(image: Image.Image, notes: list[str]) -> Picture:
    orientation = image.getexif().get(_ORIENTATION, 1)
    profile = image.info.get("icc_profile")
    if orientation in range(2, 9):
        image = ImageOps.exif_transpose(image)
        notes.append(f"turned upright (EXIF orientation {orientation})")
    image = without_alpha(image, notes)
    image = to_srgb(image, profile, notes)
    return Picture(np.asarray(image, dtype=np.uint8), tuple(notes))
