"""Latents to a segment, by the integers that clients have: no network of the teacher's is needed here."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.engine import Graph, hyper_from
from microdose.latents import encode_picture, predict
from microdose.segment import pack_segment
from microdose_server.codec.hyperprior import scale_table

Floats = NDArray[np.float32]
Size = tuple[int, int]
"""Height and width of a picture, in pixels."""


class Latents(NamedTuple):
    """What the teacher makes of a picture of H x W pixels: y float32 [C, h, w] of h = ceil(H/16) rows and as
    many columns, not yet rounded, and z int32 [Cz, ceil(h/4), ceil(w/4)].
    """

    y: Floats
    z: NDArray[np.int32]


class Coder:
    """Codes latents for a base."""

    def __init__(self, base: LoadedBase) -> None:
        self.base = base
        self._hyper = hyper_from(Graph(base.hyper))

    def code(self, latents: Latents, size: Size, epoch: int = 0) -> tuple[bytes, Floats]:
        """The segment of a picture of this size, and its y_hat float32 [C, h, w].

        Raises CorruptStream for sides over the format's limits and for latents that do not fit them.
        """
        height, width = size
        segment, y_hat = encode_picture(*latents, width, height, epoch, self.base, self._hyper)
        return pack_segment(segment), y_hat

    def prior(self, latents: Latents) -> tuple[Floats, Floats]:
        """mu and sigma, each float32 [C, h, w], of the Gaussians that these y are coded with: exactly the mu,
        and the sigma of the table that is used.
        """
        document, (_, rows, columns) = self.base.document, latents.y.shape
        z = np.clip(latents.z, -document.hyper_clamp, document.hyper_clamp)
        index, mu = predict(z, (rows, columns), document, self._hyper)
        return mu, np.array(scale_table(), np.float32)[index]
