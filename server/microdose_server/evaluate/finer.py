"""What the bytes of a dose buy if they are spent on latents instead: a finer quantisation of y.

    step 1:         round(y - mu)                under table k          the segment as it is
    step 1.13^-s:   round((y - mu) / step)       under table k + s      more bytes, less noise in y_hat

Tables lie a factor apart in standard deviation, so that another step is another table. The format has no
place for a step: this is a measurement, of bytes that were really coded.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from microdose import entropy
from microdose.base import LoadedBase
from microdose.engine import Graph, hyper_from
from microdose.latents import Floats, decode_hyper, predict
from microdose.segment import parse_segment
from microdose_server.codec.encode import to_tensor
from microdose_server.codec.hyperprior import SCALE_LEAST, SCALE_LEVELS, SCALE_MOST
from microdose_server.codec.teacher import Teacher, pad_to_stride
from microdose_server.training.data import Pixels

APART = (SCALE_MOST / SCALE_LEAST) ** (1.0 / (SCALE_LEVELS - 1))
"""From one table's standard deviation to the next."""
MOST_SHIFT = 24.0
HALVINGS = 16
"""Of the range of shifts: 24 pictures of half a megapixel leave 30 bytes of what they are given, or less."""


@dataclass(frozen=True, eq=False)
class Analysed:
    """y and mean float32 [C, h, w] with the table numbers of a picture, and all its bytes but those of y."""

    y: Floats
    mean: Floats
    index: NDArray[np.uint8]
    overhead: int


@torch.inference_mode()
def analyse(
    teacher: Teacher, base: LoadedBase, pixels: Sequence[Pixels], segments: Sequence[bytes]
) -> list[Analysed]:
    """What the segments were made from."""
    hyper, found = hyper_from(Graph(base.hyper)), []
    for picture, data in zip(pixels, segments, strict=True):
        segment = parse_segment(data)
        index, mean = predict(decode_hyper(segment, base), segment.header.latent_size, base.document, hyper)
        y = teacher.g_a(pad_to_stride(to_tensor(picture)))[0].numpy()
        found.append(Analysed(y, mean, index, len(data) - len(segment.latents)))
    return found


def requantise(picture: Analysed, base: LoadedBase, shift: float) -> tuple[int, Floats]:
    """(bytes of the whole segment, y_hat) with steps of APART^-shift; shift 0 is the segment as it is."""
    step = APART**-shift
    symbols = np.rint((picture.y - picture.mean) / np.float32(step)).astype(np.int32)
    tables = base.document.tables.y
    index = np.minimum(picture.index.astype(np.int64) + round(shift), len(tables) - 1).astype(np.uint8)
    payload = entropy.encode(symbols.ravel(), index.ravel(), tables)
    return picture.overhead + len(payload), symbols.astype(np.float32) * np.float32(step) + picture.mean


def finer_latents(
    pictures: Sequence[Analysed], base: LoadedBase, most_bytes: int
) -> tuple[int, list[Floats]]:
    """(bytes, y_hat of every picture) on the finest steps that take no more bytes than given."""
    low, high = 0.0, MOST_SHIFT
    for _ in range(HALVINGS):
        middle = (low + high) / 2.0
        fits = sum(requantise(picture, base, middle)[0] for picture in pictures) <= most_bytes
        low, high = (middle, high) if fits else (low, middle)
    made = [requantise(picture, base, low) for picture in pictures]
    return sum(size for size, _ in made), [y_hat for _, y_hat in made]
