"""What a run begins with: the weights of a teacher that was trained before, its recipe, and its critic."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from torch import Tensor

from microdose.errors import NotFound, UnsupportedVersion
from microdose_server.codec.fill import fill
from microdose_server.codec.folder import DISCRIMINATOR, META
from microdose_server.codec.presets import Preset
from microdose_server.codec.shipped import load_discriminator, load_meta, load_teacher
from microdose_server.codec.teacher import Teacher
from microdose_server.training.checkpoint import load_state


@dataclass(frozen=True)
class Start:
    """A teacher in training. `recipe` is what it has learnt by, field by field, and `critic` the state of the
    discriminator that it was trained against; both are empty where there is none.
    """

    teacher: Teacher
    recipe: Mapping[str, Any] = field(default_factory=dict)
    critic: Mapping[str, Tensor] = field(default_factory=dict)


def start_from(source: Path, preset: Preset) -> Start:
    """The average of a checkpoint file, or the teacher of a folder.

    Raises:
        NotFound: `source` is neither.
        UnsupportedVersion: it is of another preset or version, or a folder's discriminator is of another
            teacher.
    """
    if source.is_dir():
        return _of_folder(source, preset)
    if not source.is_file():
        raise NotFound(f"there is no {source} to begin with; give --from a checkpoint, or a teacher's folder")
    state, teacher = load_state(source, preset.name), Teacher(preset)
    fill(teacher, state.ema, source)
    return Start(teacher, state.recipe, state.discriminator)


def _of_folder(source: Path, preset: Preset) -> Start:
    teacher = _trainable(load_teacher(folder=source), source, preset)
    recipe = load_meta(source).get("recipe") if (source / META).is_file() else None
    critic = load_discriminator(source).state_dict() if (source / DISCRIMINATOR).is_file() else {}
    return Start(teacher, recipe if isinstance(recipe, dict) else {}, critic)


def _trainable(teacher: Teacher, source: Path, preset: Preset) -> Teacher:
    if teacher.preset != preset:
        name = teacher.preset.name
        raise UnsupportedVersion(f"{source} holds a teacher of preset {name!r}; use it with --preset {name}")
    teacher.requires_grad_(True).train()
    teacher.hyperprior.z_prior.quantiles.requires_grad_(False)
    return teacher
