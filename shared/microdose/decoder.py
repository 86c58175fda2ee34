"""The whole decoder of a thin client: base bytes + dose bytes + segment bytes -> pixels."""

from dataclasses import dataclass
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.dose import dosed_student
from microdose.engine import Graph, hyper_from, single
from microdose.errors import CorruptStream
from microdose.latents import Floats, decode_hyper, decode_latents, predict
from microdose.segment import PictureHeader, parse_segment


@dataclass(frozen=True, slots=True)
class Timings:
    """Milliseconds spent in each part of a decode."""

    entropy_ms: float
    hyper_ms: float
    synthesis_ms: float

    @property
    def total_ms(self) -> float:
        """The sum of the parts."""
        return self.entropy_ms + self.hyper_ms + self.synthesis_ms


@dataclass(frozen=True, slots=True, eq=False)
class Picture:
    """A decoded picture: sRGB, uint8[height, width, 3]."""

    pixels: NDArray[np.uint8]
    timings: Timings


class Decoder:
    """Decodes segments of one base under one dose: the last of `doses`, each the parent of the next.

    Without any, the generic student paints. A new dose needs a new Decoder; building one takes about as long
    as decoding a small picture. Safe to share between threads.
    """

    def __init__(self, base: LoadedBase, *doses: bytes, threads: int = 0) -> None:
        """Raises CorruptStream, UnsupportedVersion or DoseMismatch for a dose that does not fit."""
        self.base = base
        self._student = Graph(dosed_student(base, doses), threads)
        self._hyper = hyper_from(Graph(base.hyper, threads))

    def decode(self, segment: bytes) -> Picture:
        """Raises CorruptStream, UnsupportedVersion, UnknownBase or NotReproducible."""
        begin = perf_counter()
        parsed = parse_segment(segment)
        z = decode_hyper(parsed, self.base)
        have_z = perf_counter()
        index, mean = predict(z, parsed.header.latent_size, self.base.document, self._hyper)
        have_index = perf_counter()
        y_hat = decode_latents(parsed, self.base, index, mean)
        have_y = perf_counter()
        pixels = self._synthesise(y_hat, parsed.header)
        end = perf_counter()
        entropy = (have_z - begin) + (have_y - have_index)
        return Picture(pixels, Timings(1e3 * entropy, 1e3 * (have_index - have_z), 1e3 * (end - have_y)))

    def _synthesise(self, y_hat: Floats, header: PictureHeader) -> NDArray[np.uint8]:
        x_hat = single(self._student.run(y_hat=y_hat[None]), "x_hat")
        stride = self.base.document.stride
        full = (3, stride * header.latent_height, stride * header.latent_width)
        if x_hat.shape != full or not np.isfinite(x_hat).all():
            raise CorruptStream(f"the student gives {x_hat.shape}, not {full}, or values that are not finite")
        return to_pixels(x_hat[:, : header.height, : header.width])


def to_pixels(x_hat: Floats) -> NDArray[np.uint8]:
    """float32[3,H,W], nominally 0..1, to uint8[H,W,3], rounded half to even."""
    pixels = np.empty((*x_hat.shape[1:], 3), np.uint8)
    for colour, plane in enumerate(x_hat):  # in place, plane by plane: a third of the memory traffic
        scaled = plane * np.float32(255.0)
        np.rint(scaled, out=scaled)
        pixels[..., colour] = np.clip(scaled, 0.0, 255.0, out=scaled)
    return pixels
