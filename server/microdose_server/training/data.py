"""Photographs as 8-bit arrays, which need not be decoded before they are shown, and random crops of them.

What a batch shows is drawn by the photographs' sizes alone: whether they are in memory changes no run.
"""

import os
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple, overload

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from microdose.digest import digest_of

Pixels = NDArray[np.uint8]
Size = tuple[int, int]
"""(height, width)."""

THREADS = max(4, min(16, os.cpu_count() or 1))
"""That decode photographs and cut crops. Few cores have four as well: some wait for the disk."""


class Photos(Sequence[Pixels]):
    """Photographs [H, W, 3] by number, `sizes` of which are known; `read` decodes one, or has it at hand."""

    def __init__(self, sizes: Sequence[Size], read: Callable[[int], Pixels]) -> None:
        self.sizes, self._read = sizes, read

    def __len__(self) -> int:
        return len(self.sizes)

    @overload
    def __getitem__(self, index: int) -> Pixels: ...

    @overload
    def __getitem__(self, index: slice) -> "Photos": ...

    def __getitem__(self, index: int | slice) -> "Pixels | Photos":
        numbers = range(len(self))[index]
        return self._read(numbers) if isinstance(numbers, int) else self.only(numbers)

    def only(self, numbers: Sequence[int]) -> "Photos":
        """Some of them; nothing is decoded."""
        return Photos([self.sizes[number] for number in numbers], lambda index: self[numbers[index]])


def sizes_of(photos: Sequence[Pixels]) -> Sequence[Size]:
    """The size of each photograph; nothing is decoded."""
    return photos.sizes if isinstance(photos, Photos) else [(each.shape[0], each.shape[1]) for each in photos]


def identity_of(photos: Sequence[Pixels]) -> dict[str, int | str]:
    """By what a run knows its photographs again: how many there are, and a digest of their sizes in order."""
    return {"count": len(photos), "sizes": digest_of(np.array(sizes_of(photos), dtype="<u4").tobytes())}


def split_held_out(count: int, held_out: int) -> tuple[list[int], list[int]]:
    """The numbers of training and held-out photographs; the latter are spread evenly over all `count`."""
    every = max(1, count // max(1, held_out))
    kept = range(0, every * held_out, every) if count > 2 * held_out else range(0)
    return [number for number in range(count) if number not in kept], list(kept)


class Window(NamedTuple):
    """A square of a photograph, and whether it is mirrored."""

    photo: int
    top: int
    left: int
    side: int
    mirrored: bool


def areas(sizes: Sequence[Size]) -> NDArray[np.float64]:
    """Each photograph's share of all pixels."""
    pixels = np.array([height * width for height, width in sizes], dtype=np.float64)
    share: NDArray[np.float64] = pixels / pixels.sum()
    return share


def crops(photos: Sequence[Pixels], batch: int, crop: int, rng: np.random.Generator) -> Iterator[Tensor]:
    """Endless batches [batch, 3, crop, crop] in 0..1."""
    sizes = sizes_of(photos)
    share = areas(sizes)
    while True:
        yield cut(photos, draw(sizes, share, batch, crop, rng), crop)


def draw(
    sizes: Sequence[Size],
    share: NDArray[np.float64],
    batch: int,
    crop: int,
    rng: np.random.Generator,
) -> list[Window]:
    """What a batch shows of photographs of these sizes: nothing else takes numbers from `rng`.

    They are drawn by area. Each crop covers 1 to 2 times its size and is scaled down to it, which
    HiFiC does to shed the artefacts of the source's own compression; half of them are mirrored.
    """
    chosen = rng.choice(len(sizes), size=batch, p=share)
    return [_window(int(index), sizes[index], crop, rng) for index in chosen]


def cut(photos: Sequence[Pixels], windows: Sequence[Window], crop: int) -> Tensor:
    """The windows as [N, 3, crop, crop] in 0..1, the channels last in memory.

    Computed by numpy: a thread that calls torch for the first time gets a team of threads of its own there,
    and the teams of those that cut crops would take the processors from the one that trains.
    """
    pictures = np.stack([_one_crop(photos[window.photo], window, crop) for window in windows])
    return torch.from_numpy(pictures / np.float32(255.0)).permute(0, 3, 1, 2)


def _window(photo: int, size: Size, crop: int, rng: np.random.Generator) -> Window:
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
