"""Latents of one picture, moved by gradients until what viewers will see of them costs the least.

    x --g_a--> y --h_a, round--> z --h_s--> mu, sigma              the encoder's, as ever
               |                               |
               '--> round(y - mu) + mu = y_hat <-- y moves <---.
                      |                                        |
                      '--student--> x_hat --> D(x_hat, x) + lmbda * bpp

An encoder has learnt from other pictures and sees this one once; whoever encodes once for many viewers can
afford to look again (Campos et al. 2019, arXiv 1906.01223; Yang et al. 2020, arXiv 2006.04240). z stays, and
mu and sigma with it: the stream is as exact as ever, and decoders notice nothing.

A picture is refined in windows of 1024 pixels, so that memory does not grow with it.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Generator, Tensor, nn

from microdose.base import LoadedBase
from microdose.segment import STRIDE
from microdose_server.codec.coder import Coder, Latents
from microdose_server.codec.encode import to_tensor
from microdose_server.codec.hyperprior import straight_through_round
from microdose_server.distil.distance import DISTANCE, Reference, distortion, reference_of
from microdose_server.distil.tiles import spans
from microdose_server.training.lpips import LPIPS, PHASES
from microdose_server.training.precision import placed

WINDOW = 64
"""Latents on a side that move together."""
MARGIN = 4
"""Latents around them that are painted, but stay: they give the window its surroundings."""
LEAST_CHANCE = 2.0**-24
"""No symbol is taken to be less likely: escapes of the entropy coder cost about as much."""
LMBDA = 1.2
"""The distortion that a bit per pixel of latents must save: about what it saves in those of the encoder, so
that refined pictures take about as many bytes.
"""

Tell = Callable[[], None]
Rectangle = tuple[slice, slice]
"""Rows and columns."""


def silent() -> None:
    """For who need not be told."""


@dataclass(frozen=True, slots=True)
class Refinement:
    """How latents move: the steps of Adam, its betas, and its rate at first, from where it falls to zero.

    `lmbda` is the distortion that a bit per pixel must save.
    """

    steps: int
    learning_rate: float = 0.08
    betas: tuple[float, float] = (0.8, 0.9)
    lmbda: float = LMBDA


class Window(NamedTuple):
    """Which latents are painted, and where among these are those that move."""

    painted: Rectangle
    moving: Rectangle


class Coding(NamedTuple):
    """Latents and the Gaussians that they are coded with, each [1, C, h, w]."""

    y: Tensor
    mu: Tensor
    sigma: Tensor

    def within(self, part: Rectangle) -> "Coding":
        """Those in a rectangle."""
        return Coding(*(each[:, :, part[0], part[1]] for each in self))


class Refiner:
    """Codes pictures for a base by refined latents. One step takes what the decoder and LPIPS take for the
    picture, forwards and backwards.
    """

    def __init__(self, base: LoadedBase, recipe: Refinement, device: str = "cpu") -> None:
        self._coder, self._recipe, self._device = Coder(base), recipe, device
        self._lpips = placed(LPIPS(), device)

    def code(
        self,
        latents: Latents,
        goal: NDArray[np.uint8],
        decoder: nn.Module,
        epoch: int = 0,
        tell: Tell = silent,
    ) -> tuple[bytes, NDArray[np.float32]]:
        """The segment and y_hat of a picture's latents, moved for a frozen `decoder`, y_hat -> x_hat, on
        the same device, that is to show `goal`, uint8 [H, W, 3]; `tell` is called after every step.

        Raises as `Coder.code`.
        """
        height, width, _ = goal.shape
        arrays = (latents.y, *self._coder.prior(latents))
        coding = Coding(*(torch.tensor(array)[None].to(self._device) for array in arrays))
        x = to_tensor(goal).to(self._device)
        y = refine(decoder, self._lpips, coding, x, self._recipe, tell)[0].cpu().numpy()
        return self._coder.code(latents._replace(y=y), (height, width), epoch)


def refine(
    decoder: nn.Module, lpips: LPIPS, coding: Coding, x: Tensor, recipe: Refinement, tell: Tell = silent
) -> Tensor:
    """y [1, C, h, w] of a picture x [1, 3, H, W] in 0..1, moved for a frozen decoder, y_hat -> x_hat, where
    that costs less; `tell` is called after every step. On a CPU it is the same twice.
    """
    y, chance = coding.y.clone(), Generator().manual_seed(0)
    for window in windows(*y.shape[-2:]):
        rows, columns = window.painted
        seen = x[:, :, _pixels(rows), _pixels(columns)]
        part = coding._replace(y=y).within(window.painted)
        mover = Mover(decoder, lpips, part, seen, recipe.lmbda)
        y[:, :, rows, columns] = mover.move(window, recipe, chance, tell)
    return y


def windows(rows: int, columns: int) -> Iterator[Window]:
    """Windows that move each latent once, with a margin around each, in the order of reading."""
    for painted_rows, moving_rows in _parts(rows):
        for painted_columns, moving_columns in _parts(columns):
            yield Window((painted_rows, painted_columns), (moving_rows, moving_columns))


def _parts(length: int) -> Iterator[tuple[slice, slice]]:
    for start, stop in spans(length, -(-length // WINDOW)):
        first, last = max(0, start - MARGIN), min(length, stop + MARGIN)
        yield slice(first, last), slice(start - first, stop - first)


def _pixels(latents: slice) -> slice:
    return slice(latents.start * STRIDE, latents.stop * STRIDE)


class Mover:
    """Latents of a window on their way. x [1, 3, H, W] in 0..1 is what they are to show."""

    def __init__(self, decoder: nn.Module, lpips: LPIPS, coding: Coding, x: Tensor, lmbda: float) -> None:
        self._decoder, self._lpips, self._coding, self._x, self._lmbda = decoder, lpips, coding, x, lmbda

    def move(self, window: Window, recipe: Refinement, chance: Generator, tell: Tell) -> Tensor:
        """y of all that is painted, moved within the window if that costs less."""
        y, mu, _ = self._coding
        start = y - mu
        moved, device = start.clone().requires_grad_(True), y.device
        may_move = torch.zeros_like(y)
        may_move[:, :, window.moving[0], window.moving[1]] = 1.0
        adam = torch.optim.Adam([moved], betas=recipe.betas)
        for step in range(recipe.steps):
            adam.param_groups[0]["lr"] = recipe.learning_rate * (1.0 - step / recipe.steps)
            noise = torch.rand(y.shape, generator=chance).to(device) - 0.5
            loss = self._cost(straight_through_round(moved), moved + noise, self._seen(chance))
            (gradient,) = torch.autograd.grad(loss, moved)
            moved.grad = gradient * may_move
            adam.step()
            tell()
        reference = self._seen(chance)
        with torch.no_grad():
            before, after = (self._cost(each, each, reference) for each in (start.round(), moved.round()))
        return y + (moved.detach() - start) if after < before else y

    def _seen(self, chance: Generator) -> Reference:
        """The picture as LPIPS sees it in some phase."""
        down, right = torch.randint(PHASES, (2,), generator=chance).tolist()
        return reference_of(self._x, self._lpips, (down, right))

    def _cost(self, symbols: Tensor, counted: Tensor, reference: Reference) -> Tensor:
        """Distortion of what symbols, y_hat - mu, show, and the price of those whose bits are counted."""
        height, width = self._x.shape[-2:]
        x_hat = self._decoder(symbols + self._coding.mu)[:, :, :height, :width]
        price = self._lmbda * gaussian_bits(counted, self._coding.sigma) / (height * width)
        return distortion(x_hat, reference, self._lpips, DISTANCE) + price


def gaussian_bits(offset: Tensor, sigma: Tensor) -> Tensor:
    """Bits of latents, so far from their means, in a Gaussian of this deviation with uniform noise."""
    distance = offset.abs()
    chance = torch.special.ndtr((0.5 - distance) / sigma) - torch.special.ndtr((-0.5 - distance) / sigma)
    return -torch.log2(chance.clamp_min(LEAST_CHANCE)).sum()
