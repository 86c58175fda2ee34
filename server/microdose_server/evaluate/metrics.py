"""How far a picture uint8 [H, W, 3], sRGB, is from another one: PSNR, MS-SSIM, LPIPS (also moved), DISTS."""

import functools
import math
from collections.abc import Sequence
from typing import Protocol

import numpy as np
import torch
from pytorch_msssim import ms_ssim as torch_ms_ssim
from torch import Tensor

from microdose_server.evaluate.dists import DISTS
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS

PEAK = 255.0
MOVED = 3
"""Rows and columns: no multiple of AlexNet's first stride, 4, and so of none of its others."""


def psnr(a: Pixels, b: Pixels) -> float:
    """Peak signal-to-noise ratio over all three channels, in dB; infinite for equal pictures."""
    error = float(np.mean(np.square(a.astype(np.float64) - b.astype(np.float64))))
    return 10 * math.log10(PEAK**2 / error) if error else math.inf


def ms_ssim(a: Pixels, b: Pixels) -> float:
    """Multi-scale structural similarity (Wang et al. 2003), 1 for equal pictures; both sides above 160."""
    with torch.inference_mode():
        return float(torch_ms_ssim(tensor_of(a) * PEAK, tensor_of(b) * PEAK, data_range=PEAK))


def lpips(a: Pixels, b: Pixels) -> float:
    """LPIPS v0.1 with AlexNet, 0 for equal pictures. Needs its weights: see `training.lpips_weights`."""
    return lpips_table([a], [b])[0][0]


def lpips_moved(a: Pixels, b: Pixels) -> float:
    """LPIPS of the pictures without their first rows and columns.

    A codec that was trained by LPIPS on a grid knows where its layers look; moved, they look between. For
    another codec it makes no difference.
    """
    return lpips_moved_table([a], [b])[0][0]


def dists(a: Pixels, b: Pixels) -> float:
    """DISTS at the pictures' own size, 0 for equal ones. Needs its weights: see `evaluate.dists_weights`."""
    return dists_table([a], [b])[0][0]


Table = list[list[float]]
"""Distances: a row for each of some pictures, in it one number for each of the others."""


def lpips_table(references: Sequence[Pixels], pictures: Sequence[Pixels]) -> Table:
    """LPIPS of each picture to every reference; as all tables, it embeds each once, and a picture that is one
    of the references (not only like it) no more.
    """
    return _table(_lpips(), references, pictures)


def lpips_moved_table(references: Sequence[Pixels], pictures: Sequence[Pixels]) -> Table:
    """`lpips_moved` of each picture to every reference."""
    return _table(_lpips(), references, pictures, MOVED)


def dists_table(references: Sequence[Pixels], pictures: Sequence[Pixels]) -> Table:
    """DISTS of each picture to every reference."""
    return _table(_dists(), references, pictures)


class _Network(Protocol):
    """Makes distances of what it makes of single pictures."""

    def embed(self, x: Tensor) -> tuple[Tensor, ...]: ...
    def between(self, a: tuple[Tensor, ...], b: tuple[Tensor, ...]) -> Tensor: ...


@torch.inference_mode()
def _table(
    network: _Network, references: Sequence[Pixels], pictures: Sequence[Pixels], moved: int = 0
) -> Table:
    """Holds the embeddings of the references and of one picture, not of all: they are large."""

    def embed(picture: Pixels) -> tuple[Tensor, ...]:
        return network.embed(tensor_of(picture[moved:, moved:]))

    def row(picture: Pixels) -> list[float]:
        own = known[id(picture)] if id(picture) in known else embed(picture)
        return [float(network.between(known[id(each)], own)) for each in references]

    known = {id(picture): embed(picture) for picture in references}
    return [row(picture) for picture in pictures]


def tensor_of(pixels: Pixels) -> Tensor:
    """float32 [1, 3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / PEAK


@functools.cache
def _lpips() -> LPIPS:
    return LPIPS()


@functools.cache
def _dists() -> DISTS:
    return DISTS()
