"""What the doses of a sequence aim at, picture by picture.

originals   frame --g_a, code--> segment, y_hat            the student is to paint the frame itself
teacher     frame --g_a, code--> segment, y_hat --g_s-->   the student is to paint this, the teacher's
"""

from typing import NamedTuple, Protocol

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.resources import DoseAim, DoseChoice, Sequence
from microdose_server.codec.encode import Encoded
from microdose_server.distil.tiles import Target


class PictureEncoder(Protocol):
    """What codes pictures for a base; in a worker, the shipped teacher's `Encoder`."""

    @property
    def base(self) -> LoadedBase:
        """The base that its segments are for."""

    def analyse(self, pixels: NDArray[np.uint8], epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        """The segment of a picture, uint8[H,W,3], and its y_hat."""

    def encode(self, pixels: NDArray[np.uint8], epoch: int = 0) -> Encoded:
        """The same, and the teacher's picture of y_hat, which takes longer than all the rest."""


class Aimed(NamedTuple):
    """A coded picture: its segment, and what a dose is to make of it."""

    segment: bytes
    target: Target


def needs_painting(wish: Sequence) -> bool:
    """Whether the teacher's pictures are wanted: not by the originals, nor where there is no dose to aim."""
    return wish.aim is DoseAim.TEACHER and wish.dose is not DoseChoice.NONE


def aim(encoder: PictureEncoder, pixels: NDArray[np.uint8], painted: bool) -> Aimed:
    """Code a picture, uint8[H,W,3], and aim at the teacher's of it if `painted`. Raises as the encoder."""
    if painted:
        encoded = encoder.encode(pixels)
        return Aimed(encoded.segment, Target(encoded.y_hat, encoded.x_hat, encoded.tower))
    segment, y_hat = encoder.analyse(pixels)
    return Aimed(segment, Target(y_hat, pixels))
