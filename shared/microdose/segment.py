"""A segment: the coded latents of one picture. Units: picture header, hyper-latents, latents, end.

header := colour u8 (1 = sRGB, 8 bit) · width u16 · height u16 · latent height u16 · latent width u16 ·
          epoch u32 · base digest prefix 8 bytes · hash over the scale indexes 4 bytes
"""

import struct
from dataclasses import dataclass

from microdose.errors import CorruptStream, UnsupportedVersion
from microdose.wire import Unit, UnitType, read_blob, write_blob

MAX_SIDE = 16_384
MAX_PIXELS = 40_000_000
STRIDE = 16
"""Pixels from one latent to the next, each way."""
SRGB8 = 1

_HEADER = struct.Struct("<BHHHHI8s4s")


@dataclass(frozen=True, slots=True)
class PictureHeader:
    """What a decoder must know and check before it decodes a picture of width x height pixels."""

    width: int
    height: int
    latent_height: int
    latent_width: int
    epoch: int
    base_prefix: bytes
    index_hash: bytes

    @property
    def latent_size(self) -> tuple[int, int]:
        """Rows and columns of latents."""
        return self.latent_height, self.latent_width


@dataclass(frozen=True, slots=True)
class Segment:
    """Header and the two entropy-coded payloads."""

    header: PictureHeader
    hyper: bytes
    latents: bytes


def latent_side(pixels: int) -> int:
    """Latent rows or columns of a picture side: the picture is padded up to a multiple of the stride."""
    return -(-pixels // STRIDE)


def pack_segment(segment: Segment) -> bytes:
    """The blob of a segment. Raises CorruptStream for a header that no decoder would accept."""
    header = segment.header
    _check(header)
    packed = _HEADER.pack(
        SRGB8,
        header.width,
        header.height,
        header.latent_height,
        header.latent_width,
        header.epoch,
        header.base_prefix,
        header.index_hash,
    )
    return write_blob(
        (
            Unit(UnitType.PICTURE, packed),
            Unit(UnitType.HYPER, segment.hyper),
            Unit(UnitType.LATENTS, segment.latents),
        )
    )


def parse_segment(data: bytes) -> Segment:
    """The segment in a blob. Raises CorruptStream or UnsupportedVersion."""
    units = read_blob(data)
    if [unit.type for unit in units] != [UnitType.PICTURE, UnitType.HYPER, UnitType.LATENTS, UnitType.END]:
        raise CorruptStream("not a segment: it must hold picture header, hyper-latents and latents, in order")
    picture, hyper, latents, _ = (unit.payload for unit in units)
    if len(picture) != _HEADER.size:
        raise CorruptStream(f"picture header of {len(picture)} bytes instead of {_HEADER.size}")
    colour, *fields = _HEADER.unpack(picture)
    if colour != SRGB8:
        raise UnsupportedVersion(f"pictures of colour type {colour} are unknown to this program: update it")
    header = PictureHeader(*fields)
    _check(header)
    return Segment(header, hyper, latents)


def _check(header: PictureHeader) -> None:
    width, height = header.width, header.height
    if not (1 <= width <= MAX_SIDE and 1 <= height <= MAX_SIDE and width * height <= MAX_PIXELS):
        raise CorruptStream(
            f"{width} x {height} pixels: a side is outside 1..{MAX_SIDE}, or over {MAX_PIXELS} in all"
        )
    if (header.latent_height, header.latent_width) != (latent_side(height), latent_side(width)):
        shape = f"{header.latent_height} x {header.latent_width}"
        raise CorruptStream(f"latents of {shape} do not fit a picture of {width} x {height} pixels")
    if not 0 <= header.epoch < 2**32 or len(header.base_prefix) != 8 or len(header.index_hash) != 4:
        raise CorruptStream("epoch, base prefix or index hash is out of range")
