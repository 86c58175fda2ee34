"""Pictures to segments: the teacher's analysis in torch, everything that must be exact in integers.

pixels --g_a--> y --h_a, round--> z --+
                |                     v
                '----> codec.coder (the graphs and tables that clients have)
                            |                 |
                         segment            y_hat --g_s--> the teacher's picture
"""

from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from time import perf_counter
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from microdose.base import LoadedBase
from microdose.decoder import to_pixels
from microdose_server.codec.coder import Coder, Latents
from microdose_server.codec.folder import STANDARD, load_base
from microdose_server.codec.hyperprior import pad_latents
from microdose_server.codec.shipped import check_base, load_teacher
from microdose_server.codec.teacher import Teacher, pad_to_stride


class Painted(NamedTuple):
    """The teacher's picture of y_hat, uint8 [H, W, 3], and tower, float16 [D, ceil(H/16), ceil(W/16)], the
    features that the teacher's tail painted it from.
    """

    pixels: NDArray[np.uint8]
    tower: NDArray[np.float16]


class EncodeTimings(NamedTuple):
    """Milliseconds: g_a; h_a; hyper-synthesis and entropy coding; g_s, which paints the teacher's picture."""

    analysis_ms: float
    hyper_ms: float
    coding_ms: float
    painting_ms: float


@dataclass(frozen=True, slots=True, eq=False)
class Encoded:
    """A coded picture: its segment, y_hat float32 [C, ceil(H/16), ceil(W/16)] and what the teacher paints of
    it: x_hat and tower, the pixels and features of `Painted`.
    """

    segment: bytes
    y_hat: NDArray[np.float32]
    x_hat: NDArray[np.uint8]
    timings: EncodeTimings
    tower: NDArray[np.float16]


class Encoder:
    """A teacher on `device` with its base."""

    def __init__(self, teacher: Teacher, base: LoadedBase, device: str = "cpu") -> None:
        self.teacher, self.base, self.device = teacher, base, device
        self._coder = Coder(base)

    def encode(self, pixels: NDArray[np.uint8], epoch: int = 0) -> Encoded:
        """Code a picture, uint8 [H, W, 3], sRGB. Raises CorruptStream for sides over the format's limits."""
        height, width, _ = pixels.shape
        begin = perf_counter()
        latents, analysed = self._latents(pixels)
        summed_up = perf_counter()
        segment, y_hat = self._coder.code(latents, (height, width), epoch)
        coded = perf_counter()
        x_hat, tower = self.paint(y_hat, height, width)
        clock = (begin, analysed, summed_up, coded, perf_counter())
        timings = EncodeTimings(*(1e3 * (end - start) for start, end in pairwise(clock)))
        return Encoded(segment, y_hat, x_hat, timings, tower)

    def analyse(self, pixels: NDArray[np.uint8], epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        """The segment and y_hat alone, without the time that g_s takes; raises as `encode`."""
        height, width, _ = pixels.shape
        return self._coder.code(self.latents(pixels), (height, width), epoch)

    def latents(self, pixels: NDArray[np.uint8]) -> Latents:
        """y and z alone, before anything is coded."""
        return self._latents(pixels)[0]

    @torch.inference_mode()
    def _latents(self, pixels: NDArray[np.uint8]) -> tuple[Latents, float]:
        """y and z, and when y was there."""
        y = self.teacher.g_a(pad_to_stride(to_tensor(pixels).to(self.device)))
        y_array = y[0].cpu().numpy()
        analysed = perf_counter()
        z = torch.round(self.teacher.hyperprior.h_a(pad_latents(y)))
        return Latents(y_array, z[0].cpu().numpy().astype(np.int32)), analysed

    def decode(self, y_hat: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        """The teacher's own picture of y_hat [C, h, w], uint8 [height, width, 3]."""
        return self.paint(y_hat, height, width).pixels

    @torch.inference_mode()
    def paint(self, y_hat: NDArray[np.float32], height: int, width: int) -> Painted:
        """The same with the features that it is painted from."""
        g_s = self.teacher.g_s
        after_head = g_s.head(torch.from_numpy(y_hat)[None].to(self.device))
        tower = g_s.tower(after_head) + after_head
        x_hat = g_s.tail(tower)[0, :, :height, :width]
        return Painted(to_pixels(x_hat.cpu().numpy()), tower[0].half().cpu().numpy())


def load_encoder(device: str = "cpu", folder: Path | None = None, student: str = STANDARD) -> Encoder:
    """The teacher in a folder (the shipped one) with the base of a student.

    Raises NotFound where one is missing, UnsupportedVersion for a teacher of an unknown shape, DigestMismatch
    for a damaged base or one of another teacher.
    """
    base = load_base(folder, student)
    check_base(base, folder)
    return Encoder(load_teacher(device, folder), base, device)


def to_tensor(pixels: NDArray[np.uint8]) -> Tensor:
    """uint8 [H, W, 3] to float [1, 3, H, W] in 0..1."""
    return torch.tensor(pixels).permute(2, 0, 1)[None].float() / 255.0
