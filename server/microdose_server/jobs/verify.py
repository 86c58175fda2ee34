"""The last look before publishing: the bytes that viewers will get, through the decoder they have."""

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.decoder import Decoder, to_pixels
from microdose.dose import dosed_student
from microdose.engine import Graph
from microdose.errors import NotReproducible

TOLERANCE = 1
"""Grey levels of 255: float engines may round a pixel to its neighbour; nothing else may differ."""


class Verifier:
    """Compares what a viewer decodes with the student's own picture of the latents that the encoder had."""

    def __init__(self, base: LoadedBase, *doses: bytes, threads: int = 0) -> None:
        """As for a `Decoder`. Raises CorruptStream or DoseMismatch for doses that no client would take."""
        self._student = Graph(dosed_student(base, doses), threads)
        self._decoder = Decoder(base, *doses, threads=threads)

    def check(self, n: int, segment: bytes, y_hat: NDArray[np.float32]) -> None:
        """Return when picture `n` decodes as it must. y_hat: float32[C,h,w], the encoder's.

        Raises:
            NotReproducible: other pixels came out.
            CorruptStream: it does not decode at all.
        """
        pixels = self._decoder.decode(segment).pixels
        height, width, _ = pixels.shape
        expected = to_pixels(self._student.run(y_hat=y_hat[None])["x_hat"][0, :, :height, :width])
        worst = int(np.abs(pixels.astype(np.int16) - expected).max())
        if worst > TOLERANCE:
            raise NotReproducible(f"picture {n} decodes {worst} grey levels wrong; try another worker")
