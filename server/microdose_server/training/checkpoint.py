"""The state of a run: saved whole and atomically, refused when it belongs to another preset or stage."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microdose.errors import NoSpace, NotFound, UnsupportedVersion
from microdose_server.room import FULL


@dataclass
class RunState:
    """Everything a run needs to go on exactly where it stopped.

    The fields with defaults came later: checkpoints without them load too.
    """

    preset: str
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    step: int
    seconds: float
    torch_rng: Tensor
    data_rng: dict[str, Any] = field(default_factory=dict)
    stage: int = 1
    discriminator: dict[str, Tensor] = field(default_factory=dict)
    discriminator_optimizer: dict[str, Any] = field(default_factory=dict)
    noise_rng: list[Tensor] = field(default_factory=list)
    """The state of the device's generator in each process of the run."""
    device: str = "cpu"
    """The kind of device that `noise_rng` belongs to."""
    recipe: dict[str, Any] = field(default_factory=dict)
    """By what the run learns, field by field."""
    photos: dict[str, int | str] = field(default_factory=dict)
    """`identity_of` the photographs that it learns from."""
    bpp: float | None = None
    """The mean rate of its last batches, in bpp; None in checkpoints of before."""


def save_state(state: RunState, path: Path) -> None:
    """Write a checkpoint. Raises as `write_saved`."""
    write_saved(vars(state), path)


def write_saved(saved: Mapping[str, Any], path: Path) -> None:
    """Write beside `path` and rename over it: what was saved there before stays until this one is whole.

    Raises NoSpace where the disk is full.
    """
    temporary = path.with_suffix(".writing")
    try:
        with temporary.open("wb") as file:  # torch's own way to a file does not tell a full disk
            torch.save(saved, file)
        temporary.replace(path)
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoSpace(
            f"{path.parent} took no checkpoint ({error.strerror}): make room there, and go on with --resume "
            "from the last one, if there is one; it stays as it was"
        ) from None
    finally:
        temporary.unlink(missing_ok=True)


def read_saved(path: Path) -> dict[str, Any]:
    """What torch has saved in a file. Raises UnsupportedVersion, with the reason, where it cannot be read."""
    try:
        saved: dict[str, Any] = torch.load(path, weights_only=True, map_location="cpu")
    except Exception as error:  # torch tells of what is damaged, or another kind of file, in many ways
        reason = (str(error) or type(error).__name__).splitlines()[0]
        raise UnsupportedVersion(f"{path} cannot be read as a checkpoint: {reason}") from None
    return saved


def load_state(path: Path, preset: str, stage: int | None = None) -> RunState:
    """Read a checkpoint of `preset`, and, to resume it, of `stage`.

    Raises:
        NotFound: there is none.
        UnsupportedVersion: it was made by another preset or in another stage, or is no checkpoint at all.
    """
    if not path.is_file():
        raise NotFound(f"no checkpoint at {path} to resume; start a run without --resume")
    try:
        state = RunState(**read_saved(path))
    except TypeError:
        raise UnsupportedVersion(f"{path} holds something else than a teacher's run") from None
    if state.preset != preset:
        raise UnsupportedVersion(
            f"{path} is a checkpoint of preset {state.preset!r}; use it with --preset {state.preset}"
        )
    if stage not in (None, state.stage):
        raise UnsupportedVersion(
            f"{path} is a checkpoint of stage {state.stage}; resume it with --stage {state.stage}, or start "
            f"stage {stage} in another folder with --from {path}"
        )
    return state
