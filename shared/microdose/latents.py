"""From latents to a segment and back, exactly.

    z --tables.z[channel]--> hyper payload
    z -> hyper graph -> scale -> index = thresholds <= scale     (its hash goes into the header)
                     -> mean / 2^mean_bits = mu
    round(y - mu) --tables.y[index]--> latents payload          y_hat = round(y - mu) + mu

The hyper graph's outputs are integers held in float32, the same on every machine; the hash proves it each
time.
"""

import hashlib
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from microdose import entropy
from microdose.base import Base, LoadedBase
from microdose.errors import CorruptStream, NotReproducible, UnknownBase
from microdose.segment import PictureHeader, Segment, latent_side

Floats = NDArray[np.float32]
Hyper = Callable[[NDArray[np.int32]], tuple[Floats, Floats]]
"""z int32[Cz,hz,wz] -> (scale, mean), both float32[C,4hz,4wz] holding integers."""

MAX_SYMBOL = 2**30


def scale_index(scale: Floats, thresholds: NDArray[np.int32]) -> NDArray[np.uint8]:
    """The table number of every latent: how many thresholds are <= its scale.

    scale: integer-valued. thresholds: int32[T], T in 1..255, increasing, within 1..2^20.
    """
    last = thresholds[-1]
    lengths = np.diff(thresholds, prepend=0, append=last + 1)
    lookup = np.repeat(np.arange(len(lengths), dtype=np.uint8), lengths)
    numbers: NDArray[np.uint8] = lookup[np.clip(scale, 0, last).astype(np.intp)]
    return numbers


def index_hash(index: NDArray[np.uint8]) -> bytes:
    """4 bytes of SHA-256 over the table numbers: enough to notice a machine that computes others."""
    return hashlib.sha256(np.ascontiguousarray(index).tobytes()).digest()[:4]


def hyper_shape(header: PictureHeader, base: Base) -> tuple[int, int, int]:
    """(channels, rows, columns) of the hyper-latents of a picture."""
    stride = base.hyper_stride
    return base.hyper_channels, -(-header.latent_height // stride), -(-header.latent_width // stride)


def encode_picture(
    y: Floats, z: NDArray[np.int32], width: int, height: int, epoch: int, base: LoadedBase, hyper: Hyper
) -> tuple[Segment, Floats]:
    """(segment, y_hat) of a picture of width x height pixels.

    y: float32[C, ceil(height/16), ceil(width/16)]. z: int32[Cz, ceil(./4), ceil(./4)] of that, clamped here
    to what the base can carry. Raises CorruptStream if the shapes do not fit.
    """
    document = base.document
    rows, columns = latent_side(height), latent_side(width)
    header = PictureHeader(width, height, rows, columns, epoch, base.prefix, b"\0\0\0\0")
    if y.shape != (document.latent_channels, rows, columns) or z.shape != hyper_shape(header, document):
        raise CorruptStream(f"y {y.shape} or z {z.shape} does not fit {width} x {height} pixels")
    if not np.isfinite(y).all():
        raise CorruptStream("latents are not finite: the encoder's weights or the picture are broken")
    z = np.clip(z, -document.hyper_clamp, document.hyper_clamp).astype(np.int32)
    index, mean = predict(z, header.latent_size, document, hyper)
    symbols = np.clip(np.rint(y - mean), -MAX_SYMBOL, MAX_SYMBOL).astype(np.int32)
    header = PictureHeader(width, height, rows, columns, epoch, base.prefix, index_hash(index))
    coded_z = entropy.encode(z.ravel(), _channels(z.shape), document.tables.z)
    coded_y = entropy.encode(symbols.ravel(), index.ravel(), document.tables.y)
    return Segment(header, coded_z, coded_y), symbols.astype(np.float32) + mean


def decode_picture(segment: Segment, base: LoadedBase, hyper: Hyper) -> Floats:
    """y_hat, float32[C, ceil(height/16), ceil(width/16)], the same bits as the encoder's.

    Raises UnknownBase, CorruptStream, or NotReproducible where this machine predicts other scale indexes.
    """
    z = decode_hyper(segment, base)
    index, mean = predict(z, segment.header.latent_size, base.document, hyper)
    return decode_latents(segment, base, index, mean)


def decode_hyper(segment: Segment, base: LoadedBase) -> NDArray[np.int32]:
    """z of a segment made for this base, or UnknownBase, CorruptStream."""
    if segment.header.base_prefix != base.prefix:
        wanted = segment.header.base_prefix.hex()
        raise UnknownBase(f"segment made for base {wanted}, this one is {base.prefix.hex()}")
    shape = hyper_shape(segment.header, base.document)
    z = entropy.decode(segment.hyper, _channels(shape), base.document.tables.z).reshape(shape)
    clamp = base.document.hyper_clamp
    if z.max() > clamp or z.min() < -clamp:
        raise CorruptStream(f"hyper-latents are outside +-{clamp}")
    return z


def predict(
    z: NDArray[np.int32], size: tuple[int, int], base: Base, hyper: Hyper
) -> tuple[NDArray[np.uint8], Floats]:
    """(table number, mean in units of y) of every latent, cropped to `size`, rows and columns of y."""
    scale, mean = hyper(z)
    rows, columns = size
    full = (base.latent_channels, z.shape[1] * base.hyper_stride, z.shape[2] * base.hyper_stride)
    if scale.shape != full or mean.shape != full:
        raise CorruptStream(f"hyper graph gives scale {scale.shape} and mean {mean.shape}, not {full}")
    if not (np.isfinite(scale).all() and np.isfinite(mean).all()):
        raise CorruptStream("hyper graph gives numbers that are not finite")
    index = scale_index(scale[:, :rows, :columns], np.array(base.scale_thresholds, np.int32))
    return index, mean[:, :rows, :columns] * np.float32(2.0**-base.mean_bits)


def decode_latents(segment: Segment, base: LoadedBase, index: NDArray[np.uint8], mean: Floats) -> Floats:
    """y_hat from the latents payload, once the index is known to be the encoder's (else NotReproducible)."""
    if index_hash(index) != segment.header.index_hash:
        raise NotReproducible(
            "this machine computes other scale indexes than the encoder did: decode on another one"
        )
    symbols = entropy.decode(segment.latents, index.ravel(), base.document.tables.y)
    return symbols.reshape(index.shape).astype(np.float32) + mean


def _channels(shape: tuple[int, ...]) -> NDArray[np.uint16]:
    """The channel number of every hyper-latent, flattened."""
    return np.repeat(np.arange(shape[0], dtype=np.uint16), shape[1] * shape[2])
