"""Random crops of photographs, 8-bit arrays in memory."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

Pixels = NDArray[np.uint8]


def split_held_out(photos: Sequence[Pixels], held_out: int) -> tuple[list[Pixels], list[Pixels]]:
    """Training and held-out photographs; the latter are spread evenly over the folder."""
    every = max(1, len(photos) // max(1, held_out))
    kept = set(range(0, every * held_out, every)) if len(photos) > 2 * held_out else set()
    return [p for i, p in enumerate(photos) if i not in kept], [photos[i] for i in sorted(kept)]


class Window(NamedTuple):
    """A square of a photograph, and whether it is mirrored."""

    photo: int
    top: int
    left: int
    side: int
    mirrored: bool


def areas(photos: Sequence[Pixels]) -> NDArray[np.float64]:
    """Each photograph's share of all pixels."""
    pixels = np.array([photo.shape[0] * photo.shape[1] for photo in photos], dtype=np.float64)
    share: NDArray[np.float64] = pixels / pixels.sum()
    return share


def crops(photos: Sequence[Pixels], batch: int, crop: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches [batch, 3, crop, crop] in 0..1."""
    share = areas(photos)
    while True:
        yield cut(photos, draw(photos, share, batch, crop, rng), crop)


def draw(
    photos: Sequence[Pixels],
    share: NDArray[np.float64],
    batch: int,
    crop: int,
    rng: np.random.Generator,
) -> list[Window]:
    """What a batch shows: nothing else takes numbers from `rng`.

    Photographs are drawn by area. Each crop covers 1 to 2 times its size and is scaled down to it, which
    HiFiC does to shed the artefacts of the source's own compression; half of them are mirrored.
    """
    chosen = rng.choice(len(photos), size=batch, p=share)
    return [_window(int(index), photos[index].shape[:2], crop, rng) for index in chosen]


def cut(photos: Sequence[Pixels], windows: Sequence[Window], crop: int) -> Tensor:
    """The windows as [N, 3, crop, crop] in 0..1, the channels last in memory.

    Computed by numpy: a thread that calls torch for the first time gets a team of threads of its own there,
    and the teams of those that cut crops would take the processors from the one that trains.
    """
    pictures = np.stack([_one_crop(photos[window.photo], window, crop) for window in windows])
    return torch.from_numpy(pictures / np.float32(255.0)).permute(0, 3, 1, 2)


def _window(photo: int, size: Sequence[int], crop: int, rng: np.random.Generator) -> Window:
    height, width = size
    side = min(height, width, round(crop * rng.uniform(1.0, 2.0)))
    top, left = rng.integers(0, height - side + 1), rng.integers(0, width - side + 1)
    return Window(photo, int(top), int(left), side, bool(rng.random() < 0.5))


def _one_crop(photo: Pixels, window: Window, crop: int) -> Pixels:
    _, top, left, side, mirrored = window
    piece = photo[top : top + side, left : left + side]
    if side != crop:
        resized = Image.fromarray(piece).resize((crop, crop), Image.Resampling.BICUBIC, reducing_gap=2.0)
        piece = np.asarray(resized)
    return piece[:, ::-1] if mirrored else piece
