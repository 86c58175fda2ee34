"""Pieces of a sequence to overfit on: latents with the teacher's picture of them."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microdose_server.codec.teacher import STRIDE

TILE = 16
"""Latents along a side: 256 pixels."""
MARGIN = 2
"""Latents around a tile that are decoded but not compared: they only give the tile its surroundings."""


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """From y_hat float32 [C, h, w] a student is to paint x_hat uint8 [H, W, 3], the teacher's picture."""

    y_hat: NDArray[np.float32]
    x_hat: NDArray[np.uint8]


@dataclass(frozen=True)
class Tile:
    """A window of one picture, in latents: rows top..bottom, columns left..right."""

    picture: int
    top: int
    bottom: int
    left: int
    right: int


def tiles_of(targets: Sequence[Target]) -> list[Tile]:
    """Tiles that cover every picture once, of about equal size within a picture."""
    tiles = []
    for number, target in enumerate(targets):
        _, height, width = target.y_hat.shape
        for top, bottom in _spans(height):
            tiles += [Tile(number, top, bottom, left, right) for left, right in _spans(width)]
    return tiles


def _spans(length: int) -> list[tuple[int, int]]:
    count = max(1, round(length / TILE))
    edges = [round(k * length / count) for k in range(count + 1)]
    return list(pairwise(edges))


def cut(target: Target, tile: Tile) -> tuple[Tensor, Tensor, tuple[slice, slice]]:
    """A tile's latents, its pixels, and where these lie in the picture that a student makes of the latents.

    Latents: [1, C, h, w] with their margin. Pixels: the teacher's, [1, 3, H, W] in 0..1, without it.
    """
    _, height, width = target.y_hat.shape
    above, before = min(MARGIN, tile.top), min(MARGIN, tile.left)
    rows = slice(tile.top - above, min(height, tile.bottom + MARGIN))
    columns = slice(tile.left - before, min(width, tile.right + MARGIN))
    y_hat = torch.from_numpy(np.ascontiguousarray(target.y_hat[None, :, rows, columns]))
    pixels = target.x_hat[tile.top * STRIDE : tile.bottom * STRIDE, tile.left * STRIDE : tile.right * STRIDE]
    x_hat = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float() / 255.0
    inside_rows = slice(above * STRIDE, above * STRIDE + x_hat.shape[2])
    inside_columns = slice(before * STRIDE, before * STRIDE + x_hat.shape[3])
    return y_hat, x_hat, (inside_rows, inside_columns)
