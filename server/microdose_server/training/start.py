"""What a run begins with: the weights of a teacher that was trained before, and its recipe."""

from pathlib import Path
from typing import Any

from microdose.errors import UnsupportedVersion
from microdose_server.codec.folder import META
from microdose_server.codec.presets import Preset
from microdose_server.codec.shipped import load_meta, load_teacher
from microdose_server.codec.teacher import Teacher
from microdose_server.training.checkpoint import load_state


def teacher_from(source: Path, preset: Preset) -> Teacher:
    """A teacher in training, with the average of a checkpoint file or the weights of a teacher's folder.

    Raises:
        NotFound: `source` is neither.
        UnsupportedVersion: it is of another preset.
    """
    if source.is_dir():
        return _trainable(load_teacher(folder=source), source, preset)
    teacher = Teacher(preset)
    teacher.load_state_dict(load_state(source, preset.name).ema)
    return teacher


def recipe_from(source: Path, preset: Preset) -> dict[str, Any]:
    """By what the teacher of a checkpoint or of a folder learnt, field by field; of an older one nothing.

    Raises as `teacher_from`.
    """
    if not source.is_dir():
        return load_state(source, preset.name).recipe
    recipe = load_meta(source).get("recipe") if (source / META).is_file() else None
    return recipe if isinstance(recipe, dict) else {}


def _trainable(teacher: Teacher, source: Path, preset: Preset) -> Teacher:
    if teacher.preset != preset:
        name = teacher.preset.name
        raise UnsupportedVersion(f"{source} holds a teacher of preset {name!r}; use it with --preset {name}")
    teacher.requires_grad_(True).train()
    teacher.hyperprior.z_prior.quantiles.requires_grad_(False)
    return teacher
