"""A coded picture of any size, to be decoded over and over."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps

from microdose.latents import Floats
from microdose_server.codec.encode import Encoder
from microdose_server.evaluate.pictures import read_pixels
from microdose_server.training.data import Pixels


@dataclass(frozen=True, eq=False)
class Scene:
    """A coded picture of width x height pixels: its segment and y_hat [C, h, w]."""

    width: int
    height: int
    segment: bytes
    y_hat: Floats

    @property
    def size(self) -> str:
        """As people write it."""
        return f"{self.width}x{self.height}"


def scene(encoder: Encoder, file: Path | None, width: int, height: int) -> Scene:
    """The file's picture, scaled and cropped to the size, or an artificial one, coded.

    Raises BadPicture, by name, for a file that is refused.
    """
    pixels = pink(width, height)
    if file:
        image = Image.fromarray(read_pixels(file))
        pixels = np.asarray(ImageOps.fit(image, (width, height), Image.Resampling.LANCZOS))
    encoded = encoder.encode(pixels)
    return Scene(width, height, encoded.segment, encoded.y_hat)


def pink(width: int, height: int) -> Pixels:
    """Grey noise with the spectrum of photographs, 1/f."""
    noise = np.fft.rfft2(np.random.default_rng(0).normal(size=(height, width)))
    frequency = np.hypot(np.fft.fftfreq(height)[:, None], np.fft.rfftfreq(width)[None])
    shaped = np.fft.irfft2(noise / np.maximum(frequency, 1 / width), (height, width))
    grey = np.clip(128 + 50 * (shaped - shaped.mean()) / shaped.std(), 0, 255).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=2)
