"""An encoder for the tiny base that needs no trained weights: latents are the mean colours of blocks."""

import numpy as np
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.segment import latent_side
from microdose_server.codec.coder import Coder, Latents
from microdose_server.codec.encode import Painted
from tests.tiny_base import HYPER_CHANNELS, LATENT_CHANNELS, tiny_base


class TinyEncoder:
    """Encodes for `tiny_base()`; its "teacher" paints everything grey, from the latents themselves.

    `encoded` and `painted` count.
    """

    def __init__(self) -> None:
        self.encoded = self.painted = 0

    @property
    def base(self) -> LoadedBase:
        """The base that its segments are for."""
        return tiny_base()

    def decode(self, y_hat: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        """A grey picture: nothing here learns from it."""
        return self.paint(y_hat, height, width).pixels

    def paint(self, y_hat: NDArray[np.float32], height: int, width: int) -> Painted:
        """The same with the latents."""
        self.painted += 1
        return Painted(np.full((height, width, 3), 128, np.uint8), y_hat.astype(np.float16))

    def analyse(self, pixels: NDArray[np.uint8], epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        """The segment of pixels, uint8[H,W,3], and its y_hat."""
        self.encoded += 1
        height, width, _ = pixels.shape
        return Coder(self.base).code(self.latents(pixels), (height, width), epoch)

    def latents(self, pixels: NDArray[np.uint8]) -> Latents:
        """The mean colours of blocks, and nothing else."""
        height, width, _ = pixels.shape
        rows, columns = latent_side(height), latent_side(width)
        padding = (0, 16 * rows - height), (0, 16 * columns - width), (0, 0)
        blocks = np.pad(pixels, padding, "edge").reshape(rows, 16, columns, 16, 3)
        colours = blocks.mean((1, 3)).transpose(2, 0, 1) / 32 - 4
        y = np.resize(colours, (LATENT_CHANNELS, rows, columns)).astype(np.float32)
        z = np.zeros((HYPER_CHANNELS, -(-rows // 4), -(-columns // 4)), np.int32)
        return Latents(y, z)
