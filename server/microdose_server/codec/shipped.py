"""Teachers on disk: half-precision weights, what is known of them, and the base exported from them.

::

    weights/<name>/teacher.safetensors   parameters of g_a, g_s and the hyperprior; preset in the metadata
                   meta.json             data, steps, command, results
                   base.json student.onnx hyper.onnx
"""

import json
from importlib.resources import files
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from microdose import base as shared
from microdose.base import Descriptor, LoadedBase
from microdose.digest import digest_of
from microdose.errors import NotFound
from microdose.manifest import HYPER_TYPE, STUDENT_TYPE
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher

SHIPPED = "medium"
TEACHER, META, BASE = "teacher.safetensors", "meta.json", "base.json"
GRAPHS = {STUDENT_TYPE: "student.onnx", HYPER_TYPE: "hyper.onnx"}


def weights_folder(name: str = SHIPPED) -> Path:
    """Where the package keeps a teacher. Raises NotFound for a name that it does not ship."""
    folder = Path(str(files("microdose_server") / "weights" / name))
    if not (folder / TEACHER).is_file():
        raise NotFound(f"no teacher called {name!r} is shipped; look into {folder.parent}")
    return folder


def load_base(folder: Path | None = None) -> LoadedBase:
    """The base of a teacher's folder (the shipped one), every byte verified."""
    folder = folder or weights_folder()

    def fetch(descriptor: Descriptor) -> bytes:
        return (folder / GRAPHS[descriptor.media_type]).read_bytes()

    return shared.load_base((folder / BASE).read_bytes(), fetch)


def save_base(base: LoadedBase, folder: Path) -> None:
    """Write a base beside its teacher."""
    (folder / BASE).write_bytes(base.document.to_bytes())
    (folder / GRAPHS[STUDENT_TYPE]).write_bytes(base.student)
    (folder / GRAPHS[HYPER_TYPE]).write_bytes(base.hyper)


def load_teacher(device: str = "cpu", folder: Path | None = None) -> Teacher:
    """The frozen teacher of a folder (the shipped one), in float32, ready to encode."""
    path = (folder or weights_folder()) / TEACHER
    with safetensors.safe_open(path, framework="numpy") as file:
        preset = PRESETS[(file.metadata() or {})["preset"]]
        weights = {name: torch.from_numpy(file.get_tensor(name).astype(np.float32)) for name in file.keys()}  # noqa: SIM118
    teacher = Teacher(preset)
    missing, unexpected = teacher.load_state_dict(weights, strict=False)
    absent = set(missing) & {name for name, _ in teacher.named_parameters()} - set(UNTRAINED)
    if absent or unexpected:
        raise NotFound(f"{path} lacks {sorted(absent)} and has unknown {unexpected}: it is of another version")
    return teacher.requires_grad_(False).eval().to(device)


UNTRAINED = ("hyperprior.z_prior.quantiles",)


def save_teacher(preset: str, weights: dict[str, Tensor], folder: Path) -> str:
    """Write trained parameters in half precision and return the digest that is the teacher's identity.

    The prior of z stays in single precision: it is small, and tables are made from it.
    """
    trained = {name for name, _ in Teacher(PRESETS[preset]).named_parameters()} - set(UNTRAINED)
    arrays = {
        name: weights[name].detach().cpu().numpy().astype(np.float32 if "z_prior" in name else np.float16)
        for name in sorted(trained)
    }
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TEACHER).write_bytes(safetensors.numpy.save(arrays, metadata={"preset": preset}))
    return teacher_digest(folder)


def teacher_digest(folder: Path) -> str:
    """The digest of a teacher's weights file."""
    return digest_of((folder / TEACHER).read_bytes())


def load_meta(folder: Path | None = None) -> dict[str, object]:
    """What is known of a teacher: preset, data, steps, command, results."""
    meta: dict[str, object] = json.loads(((folder or weights_folder()) / META).read_text())
    return meta
