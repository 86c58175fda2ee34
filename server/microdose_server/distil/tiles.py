"""Pieces of a sequence to overfit on: latents, with the pixels that a student is to paint from them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microdose.segment import STRIDE

TILE = 16
"""Latents along a side: 256 pixels."""
MARGIN = 2
"""Latents around a tile that are decoded but not compared: they only give the tile its surroundings."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """From y_hat float32 [C, h, w] a student is to paint these pixels, uint8 [H, W, 3]: the original, or the
    teacher's picture.

    tower: float16 [D, h, w], what the teacher's tail painted its picture from; None of an original, and in a
    live sequence.
    """

    y_hat: NDArray[np.float32]
    pixels: NDArray[np.uint8]
    tower: NDArray[np.float16] | None = None


@dataclass(frozen=True)
class Tile:
    """A window of one picture, in latents: rows top..bottom, columns left..right."""

    picture: int
    top: int
    bottom: int
    left: int
    right: int

    @property
    def area(self) -> int:
        """Latents in it."""
        return (self.bottom - self.top) * (self.right - self.left)


class Piece(NamedTuple):
    """A tile with its margin. y_hat [1, C, h, w] and tower [1, D, h, w] have it, pixels [1, 3, H, W] do not.

    inside: rows and columns of the pixels in the picture that a student makes of y_hat.
    """

    y_hat: Tensor
    pixels: Tensor
    inside: tuple[slice, slice]
    tower: Tensor | None


def tiles_of(targets: Sequence[Target]) -> list[Tile]:
    """Tiles that cover every picture once, of about equal size within a picture."""
    tiles = []
    for number, target in enumerate(targets):
        _, height, width = target.y_hat.shape
        for top, bottom in spans(height, _tiles(height)):
            tiles += [Tile(number, top, bottom, left, right) for left, right in spans(width, _tiles(width))]
    return tiles


def spread(tiles: Sequence[Tile], count: int, rng: np.random.Generator) -> list[Tile]:
    """So many of the tiles: one out of each stretch of equal length, at random; all, if there are no more.

    Evenly spaced ones would lie at the same place of every picture.
    """
    if count >= len(tiles):
        return list(tiles)
    edges = [round(k * len(tiles) / count) for k in range(count + 1)]
    return [tiles[int(rng.integers(*stretch))] for stretch in pairwise(edges)]


def _tiles(length: int) -> int:
    return max(1, round(length / TILE))


def spans(length: int, count: int) -> list[tuple[int, int]]:
    """So many spans, first to behind the last, of about equal length, that cover 0..length once."""
    edges = [round(k * length / count) for k in range(count + 1)]
    return list(pairwise(edges))


def cut(target: Target, tile: Tile) -> Piece:
    """The piece of a picture that a tile names; pixels in 0..1."""
    _, height, width = target.y_hat.shape
    above, before = min(MARGIN, tile.top), min(MARGIN, tile.left)
    rows = slice(tile.top - above, min(height, tile.bottom + MARGIN))
    columns = slice(tile.left - before, min(width, tile.right + MARGIN))
    part = target.pixels[tile.top * STRIDE : tile.bottom * STRIDE, tile.left * STRIDE : tile.right * STRIDE]
    pixels = _tensor(part).permute(2, 0, 1)[None].float() / 255.0
    inside_rows = slice(above * STRIDE, above * STRIDE + pixels.shape[2])
    inside_columns = slice(before * STRIDE, before * STRIDE + pixels.shape[3])
    tower = None if target.tower is None else _tensor(target.tower[None, :, rows, columns]).float()
    y_hat = _tensor(target.y_hat[None, :, rows, columns])
    return Piece(y_hat, pixels, (inside_rows, inside_columns), tower)


def _tensor(part: NDArray[np.generic]) -> Tensor:
    """A copy in memory: targets may be maps of files."""
    return torch.from_numpy(np.array(part))
