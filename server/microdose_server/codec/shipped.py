"""A teacher's weights on disk, and its discriminator's: half precision, the preset in the file's metadata."""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import safetensors.numpy
import torch
from torch import Tensor

from microdose.base import LoadedBase
from microdose.digest import digest_of
from microdose.errors import DigestMismatch, NotFound, UnsupportedVersion
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.fill import fill
from microdose_server.codec.folder import DISCRIMINATOR, META, TEACHER, discriminator_file, weights_folder
from microdose_server.codec.presets import PRESETS, Preset
from microdose_server.codec.teacher import Teacher

UNTRAINED = ("hyperprior.z_prior.quantiles",)


def load_teacher(device: str = "cpu", folder: Path | None = None) -> Teacher:
    """The frozen teacher of a folder (the shipped one), in float32, ready to encode.

    Raises NotFound where there is none, UnsupportedVersion for one of an unknown shape.
    """
    path = (folder or weights_folder()) / TEACHER
    if not path.is_file():
        raise NotFound(f"no teacher at {path}; train one with: microdose-server train")
    preset, weights = _load(path)
    teacher = Teacher(preset)
    missing, unexpected = teacher.load_state_dict(weights, strict=False)
    absent = set(missing) & {name for name, _ in teacher.named_parameters()} - set(UNTRAINED)
    if absent or unexpected:
        raise UnsupportedVersion(f"{path} lacks {sorted(absent)} and has unknown {unexpected}: train it anew")
    teacher.requires_grad_(False).eval()
    # The channels last, as in pictures: in the other order a CPU takes twice the time.
    return teacher.to(device=device, memory_format=torch.channels_last)  # type: ignore[call-overload, no-any-return]


def save_teacher(preset: str, weights: dict[str, Tensor], folder: Path) -> str:
    """Write trained parameters in half precision and return the digest that is the teacher's identity.

    The prior of z stays in single precision: it is small, and tables are made from it.
    """
    with torch.device("meta"):  # names alone: nobody needs the weights of a fresh teacher
        trained = {name for name, _ in Teacher(PRESETS[preset]).named_parameters()} - set(UNTRAINED)
    arrays = {}
    for name in sorted(trained):
        kind = np.float32 if "z_prior" in name else np.float16
        # In C's order: safetensors writes memory as it lies, and weights train with the channels last.
        arrays[name] = weights[name].detach().cpu().numpy().astype(kind, order="C")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / TEACHER).write_bytes(safetensors.numpy.save(arrays, metadata={"preset": preset}))
    return teacher_digest(folder)


def load_discriminator(folder: Path | None = None) -> Discriminator:
    """The frozen discriminator of the teacher in a folder (the shipped one), in float32.

    Raises NotFound where there is none, UnsupportedVersion for one of an unknown shape or of another teacher,
    whose latents it would not understand.
    """
    path = discriminator_file(folder)
    preset, weights = _load(path)
    if _metadata(path).get("teacher") != teacher_digest(path.parent):
        raise UnsupportedVersion(
            f"{path} was not trained against the {TEACHER} beside it: take both from one folder "
            "that microdose-server train has left"
        )
    discriminator = Discriminator(preset.latent_channels)
    fill(discriminator, weights, path)
    return discriminator.requires_grad_(False).eval()


def save_discriminator(preset: str, weights: Mapping[str, Tensor], folder: Path) -> None:
    """Write a discriminator's state in half precision beside its teacher, which it names by digest; the small
    vectors of its spectral norms stay in single precision.
    """
    arrays = {}
    for name, value in weights.items():
        kind = np.float32 if name.endswith(("._u", "._v")) else np.float16
        arrays[name] = value.detach().cpu().numpy().astype(kind, order="C")
    metadata = {"preset": preset, "teacher": teacher_digest(folder)}
    (folder / DISCRIMINATOR).write_bytes(safetensors.numpy.save(arrays, metadata=metadata))


def _metadata(path: Path) -> dict[str, str]:
    with safetensors.safe_open(path, framework="numpy") as file:
        return file.metadata() or {}


def _load(path: Path) -> tuple[Preset, dict[str, Tensor]]:
    """(the preset, the weights in float32). Raises UnsupportedVersion for an unknown preset."""
    preset = PRESETS.get(_metadata(path).get("preset", ""))
    if preset is None:
        raise UnsupportedVersion(f"{path} is of a preset that is unknown here; there are {sorted(PRESETS)}")
    with safetensors.safe_open(path, framework="numpy") as file:
        names = list(file.keys())
        return preset, {name: torch.from_numpy(file.get_tensor(name).astype(np.float32)) for name in names}


def teacher_digest(folder: Path) -> str:
    """The digest of a teacher's weights file."""
    return digest_of((folder / TEACHER).read_bytes())


def check_base(base: LoadedBase, folder: Path | None = None) -> None:
    """Raise DigestMismatch unless a base is of the teacher in a folder (the shipped one).

    Its hyper-synthesis and tables are made from the teacher: with another one's latents they give nonsense.
    """
    folder = folder or weights_folder()
    if base.document.teacher != teacher_digest(folder):
        raise DigestMismatch(
            f"the base {base.document.name!r} was not distilled from {folder / TEACHER}: distil its student "
            "again with: microdose-server distil"
        )


def load_meta(folder: Path | None = None) -> dict[str, object]:
    """What is known of a teacher: preset, data, steps, command, results."""
    meta: dict[str, object] = json.loads(((folder or weights_folder()) / META).read_text())
    return meta
