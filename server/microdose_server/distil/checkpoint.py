"""A run of distillation on disk: tensors and plain facts in one safetensors file, replaced as a whole."""

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor

FACTS = "microdose-distillation"


class Checkpoint(NamedTuple):
    """Tensors by name, and whatever JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def write_checkpoint(path: Path, tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> None:
    """Replace the file at ``path``, or leave the one before: never half of one."""
    kept = {name: value.detach().cpu().contiguous() for name, value in tensors.items()}
    data = save(kept, metadata={FACTS: json.dumps(facts)})
    temporary = path.with_suffix(".writing")
    with temporary.open("wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())
    temporary.replace(path)


def read_checkpoint(path: Path) -> Checkpoint | None:
    """What is there; None for no file, or one that is not whole: then a run begins anew."""
    try:
        with safe_open(path, "pt") as file:
            names: list[str] = file.keys()
            tensors = {name: file.get_tensor(name) for name in names}
            facts = json.loads((file.metadata() or {})[FACTS])
    except (FileNotFoundError, SafetensorError, KeyError, ValueError):
        return None
    return Checkpoint(tensors, facts) if isinstance(facts, dict) else None


def as_tensor(data: bytes) -> Tensor:
    """Bytes as a tensor, to be kept among tensors."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def as_bytes(tensor: Tensor) -> bytes:
    """The inverse of `as_tensor`."""
    return bytes(tensor.numpy().tobytes())
