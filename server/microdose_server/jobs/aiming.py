"""What the doses of a sequence aim at, picture by picture, and its latents, where they are refined.

originals   frame --g_a, code--> segment, y_hat            the student is to paint the frame itself
teacher     frame --g_a, code--> segment, y_hat --g_s-->   the student is to paint this, the teacher's
"""

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.resources import DoseAim, DoseChoice, Sequence
from microdose_server.codec.coder import Latents
from microdose_server.codec.encode import Painted
from microdose_server.distil.tiles import Target


class PictureEncoder(Protocol):
    """What codes pictures for a base; in a worker, the shipped teacher's `Encoder`."""

    @property
    def base(self) -> LoadedBase:
        """The base that its segments are for."""

    def latents(self, pixels: NDArray[np.uint8]) -> Latents:
        """What is coded of a picture, uint8[H,W,3]."""

    def analyse(self, pixels: NDArray[np.uint8], epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        """The segment of a picture, uint8[H,W,3], and its y_hat."""

    def paint(self, y_hat: NDArray[np.float32], height: int, width: int) -> Painted:
        """The teacher's picture of y_hat, which takes longer than all the rest."""


def needs_painting(wish: Sequence) -> bool:
    """Whether the teacher's pictures are wanted: not by the originals, nor where nothing aims at them."""
    aiming = wish.dose is not DoseChoice.NONE or wish.refine is not None
    return wish.aim is DoseAim.TEACHER and aiming


def aim(
    encoder: PictureEncoder, y_hat: NDArray[np.float32], pixels: NDArray[np.uint8], painted: bool
) -> Target:
    """What a dose is to make of a picture, uint8[H,W,3], that was coded as y_hat: the teacher's if `painted`.

    It follows from these alone, so that every attempt at a job aims at the same.
    """
    if not painted:
        return Target(y_hat, pixels)
    picture, tower = encoder.paint(y_hat, *pixels.shape[:2])
    return Target(y_hat, picture, tower)
