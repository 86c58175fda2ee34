"""How far a picture uint8 [H, W, 3], sRGB, is from another one: PSNR, MS-SSIM, LPIPS (also moved), DISTS."""

import functools
import math

import numpy as np
import torch
from numpy.typing import NDArray
from pytorch_msssim import ms_ssim as torch_ms_ssim
from torch import Tensor

from microdose_server.evaluate.dists import DISTS
from microdose_server.training.lpips import LPIPS

Pixels = NDArray[np.uint8]

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
    with torch.inference_mode():
        return float(_lpips()(tensor_of(a), tensor_of(b)))


def lpips_moved(a: Pixels, b: Pixels) -> float:
    """LPIPS of the pictures without their first rows and columns.

    A codec that was trained by LPIPS on a grid knows where its layers look; moved, they look between. For
    another codec it makes no difference.
    """
    return lpips(a[MOVED:, MOVED:], b[MOVED:, MOVED:])


def dists(a: Pixels, b: Pixels) -> float:
    """DISTS at the pictures' own size, 0 for equal ones. Needs its weights: see `evaluate.dists_weights`."""
    with torch.inference_mode():
        return float(_dists()(tensor_of(a), tensor_of(b)))


def tensor_of(pixels: Pixels) -> Tensor:
    """float32 [1, 3, H, W] in 0..1."""
    return torch.from_numpy(np.ascontiguousarray(pixels.transpose(2, 0, 1)))[None].float() / PEAK


@functools.cache
def _lpips() -> LPIPS:
    return LPIPS()


@functools.cache
def _dists() -> DISTS:
    return DISTS()
