"""Pairs of pictures that any machine draws alike, for networks that measure distances."""

from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

CHANGES: dict[str, Callable[[Tensor], Tensor]] = {
    "darker": lambda x: x * 0.7,
    "mirrored": lambda x: x.flip(3),
    "flat": lambda x: torch.full_like(x, 0.5),
}


def waves(height: int = 96, width: int = 128) -> Tensor:
    """A picture [1, 3, H, W] in 0..1."""
    y, x = np.mgrid[0:height, 0:width] / 16.0
    planes = np.stack([np.sin(x * y / 4), np.cos(x + y), np.sin(3 * x)]) * 0.5 + 0.5
    return torch.from_numpy(planes).float()[None]
