"""Models that CompressAI's zoo has trained, as codecs to compare with, where their checkpoints are at hand.

    bmshj2018-hyperprior-3-6d87be32.pth.tar --> quality 3 of the family bmshj2018-hyperprior
    picture --pad to 64--> each quality: compress --> strings, the bytes that count
                               fewest bytes, no fewer than allowed --> decompress --crop--> picture

They code on the CPU, with CompressAI's own entropy coder, and are counted as its evaluation counts: only
their strings, not the size of the picture.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.nn import functional as F

from microdose.errors import BadUpload, UnsupportedVersion
from microdose_server.evaluate.codecs import Coded, Search
from microdose_server.evaluate.metrics import PEAK, tensor_of
from microdose_server.evaluate.zoo_models import ARCHITECTURES, compute_padding, load_pretrained
from microdose_server.training.checkpoint import read_saved
from microdose_server.training.data import Pixels

STRIDE = 64
"""Both sides are padded to multiples of this, around the picture, as CompressAI's evaluation does."""
NAME = re.compile(
    rf"(?P<architecture>{'|'.join(ARCHITECTURES)})(-prior)?(-(?P<metric>mse|ms-ssim))?"
    r"-(?P<quality>[1-8])-[0-9a-f]{8}\.pth\.tar"
)
"""A checkpoint's name, once its underscores are hyphens: the zoo has both."""
WRONG = UnsupportedVersion, RuntimeError, ValueError, KeyError, AttributeError, TypeError
"""What is raised for a file that is no checkpoint, and by CompressAI for one of something else."""


class _Named(NamedTuple):
    """What a checkpoint's name tells; they sort by family and quality."""

    family: str
    quality: int
    architecture: str
    file: Path


class _Strings(NamedTuple):
    """A picture as a model has coded it; `decoded` is told its height and width."""

    model: Any
    strings: list[list[bytes]]
    shape: Any

    @property
    def data(self) -> bytes:
        return b"".join(of_batch[0] for of_batch in self.strings)

    @torch.inference_mode()
    def decoded(self, height: int, width: int) -> Pixels:
        x_hat = self.model.decompress(self.strings, self.shape)["x_hat"]
        _, unpad = compute_padding(height, width, min_div=STRIDE)
        levels = F.pad(x_hat, unpad)[0].clamp(0.0, 1.0).mul(PEAK).round()
        return levels.permute(1, 2, 0).numpy().astype(np.uint8)


@dataclass(frozen=True)
class Family:
    """An architecture, trained for one metric: its `models` are of growing quality."""

    name: str
    models: tuple[Any, ...]

    def search(self, pixels: Pixels) -> Search:
        """What codes `pixels` to the fewest bytes that are no fewer than wanted; where all qualities take
        fewer, to those of the finest. Each quality codes it once, now.
        """
        tried = [_compressed(model, pixels) for model in self.models]

        def coded(target: int) -> Coded:
            enough = [each for each in tried if len(each.data) >= target]
            best = min(enough, key=lambda each: len(each.data), default=tried[-1])
            return Coded(best.data, best.decoded(*pixels.shape[:2]))

        return coded


@torch.inference_mode()
def _compressed(model: Any, pixels: Pixels) -> _Strings:
    pad, _ = compute_padding(*pixels.shape[:2], min_div=STRIDE)
    return _Strings(model, **model.compress(F.pad(tensor_of(pixels), pad)))


def read_zoo(folder: Path) -> list[Family]:
    """The families of a folder's checkpoints; hidden files are passed over.

    Raises BadUpload for a folder without any, and for a file that is not named as in the zoo or does not hold
    what its name says.
    """
    inside = sorted(folder.iterdir()) if folder.is_dir() else []
    named = [_named(file) for file in inside if not file.name.startswith(".")]
    if not named:
        raise BadUpload(f"{folder} holds no checkpoint: give the folder of CompressAI's .pth.tar files")
    return list(_families(sorted(named)))


def _families(named: list[_Named]) -> Iterator[Family]:
    for family in sorted({each.family for each in named}):
        models = [_model(each) for each in named if each.family == family]
        yield Family(family, tuple(models))


def _named(file: Path) -> _Named:
    found = NAME.fullmatch(file.name.replace("_", "-"))
    if found is None:
        raise BadUpload(
            f"{file} is not named as a model of CompressAI's zoo, such as mbt2018-mean-3-723404a8.pth.tar: "
            f"name it so, or take it out; there are {', '.join(ARCHITECTURES)}"
        )
    trained_for = "-ms-ssim" if found["metric"] == "ms-ssim" else ""
    family = found["architecture"] + trained_for
    return _Named(family, int(found["quality"]), found["architecture"], file)


def _model(named: _Named) -> Any:
    """A model that is ready to code."""
    try:
        state = load_pretrained(read_saved(named.file))
        model = ARCHITECTURES[named.architecture].from_state_dict(state)
        model.update()
    except WRONG as error:
        told = " ".join(str(error).split())[:200] or type(error).__name__
        raise BadUpload(
            f"{named.file} does not hold the {named.architecture} of CompressAI's zoo, fetch it again: {told}"
        ) from error
    return model.eval()
