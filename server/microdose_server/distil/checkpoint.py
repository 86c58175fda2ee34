"""A run of distillation as bytes: tensors, and plain facts as one more, in the format of safetensors."""

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import torch
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

FACTS = "facts"


class Keeper(Protocol):
    """Where a run is kept, so that it can go on, here or elsewhere."""

    def load(self) -> bytes | None:
        """What was saved last; None for nothing."""

    def due(self) -> bool:
        """Whether to save again."""

    def save(self, data: bytes) -> None:
        """Keep `data` in place of what was saved before."""


class Checkpoint(NamedTuple):
    """Tensors by name, and whatever JSON can hold."""

    tensors: dict[str, Tensor]
    facts: dict[str, Any]


def pack_checkpoint(tensors: Mapping[str, Tensor], facts: Mapping[str, Any]) -> bytes:
    """The inverse of `parse_checkpoint`. No tensor may be called `FACTS`."""
    named = {**tensors, FACTS: as_tensor(json.dumps(facts).encode())}
    return save({name: value.detach().cpu().contiguous() for name, value in named.items()})


def parse_checkpoint(data: bytes) -> Checkpoint | None:
    """What was packed; None for what is no checkpoint: then a run begins anew."""
    try:
        tensors = load(data)
        facts = json.loads(as_bytes(tensors.pop(FACTS)))
    except (SafetensorError, KeyError, ValueError):
        return None
    return Checkpoint(tensors, facts) if isinstance(facts, dict) else None


def as_tensor(data: bytes) -> Tensor:
    """Bytes as a tensor, to be kept among tensors."""
    return torch.frombuffer(bytearray(data), dtype=torch.uint8) if data else torch.empty(0, dtype=torch.uint8)


def as_bytes(tensor: Tensor) -> bytes:
    """The inverse of `as_tensor`."""
    return bytes(tensor.numpy().tobytes())
