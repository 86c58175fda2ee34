"""The state of a run: saved whole and atomically, refused when it belongs to another preset."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from microdose.errors import NotFound, UnsupportedVersion


@dataclass
class RunState:
    """Everything a run needs to go on exactly where it stopped."""

    preset: str
    model: dict[str, Tensor]
    ema: dict[str, Tensor]
    optimizer: dict[str, Any]
    step: int
    seconds: float
    torch_rng: Tensor
    data_rng: dict[str, Any] = field(default_factory=dict)


def save_state(state: RunState, path: Path) -> None:
    """Write beside ``path`` and rename over it: a killed run leaves the last good checkpoint."""
    temporary = path.with_suffix(".writing")
    torch.save(vars(state), temporary)
    temporary.replace(path)


def load_state(path: Path, preset: str) -> RunState:
    """Read a checkpoint of ``preset``.

    Raises:
        NotFound: there is none.
        UnsupportedVersion: it was made by another preset.
    """
    if not path.is_file():
        raise NotFound(f"no checkpoint at {path} to resume; start a run without --resume")
    state = RunState(**torch.load(path, weights_only=True, map_location="cpu"))
    if state.preset != preset:
        raise UnsupportedVersion(
            f"{path} is a checkpoint of preset {state.preset!r}; resume it with --preset {state.preset}"
        )
    return state
