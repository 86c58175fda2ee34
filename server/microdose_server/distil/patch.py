"""What a dose trains: changes to a student's weights, in the forms that clients merge, as real numbers.

    GAIN      a gain per row of each convolution                                     Scale     }
    BIAS      differences of biases                                                  Add       } rung gains
    KERNEL    differences of channel gains and depthwise kernels, v's part           Add       }
    FACTOR    two narrow matrices for each convolution                               LowRank   rung low-rank
    MATRIX    differences of the convolutions' weights                               Add       rung full

Every change is u times a unit, a power of two near the RMS of the tensor, so that one learning rate fits all
tensors of a group. In steps, u is rounded to multiples of the step, and what is sent as step is step * unit,
or step^2 * unit of a product. It has a code: eight of them divide each octave (`changes.step_of`).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import StrEnum
from math import frexp, prod
from typing import TypeAlias

import numpy as np
import torch
from torch import Tensor

from microdose.base import Base, TensorSlot
from microdose.changes import Add, Change, LowRank, Scale, code_of, matrix_shape, step_of
from microdose.dose import DoseKind

TOWARDS_ZERO = 1.0 / 3.0
"""Rounding of what is many: up from two thirds of a step only, because zeros are the cheapest."""
FINEST, COARSEST, NOTHING = 2.0**-10, 0.9375, 1.0
"""Steps of u that have a code for every unit, and the step that stands for no change at all."""
LEAST_BIAS, LEAST_UNIT, MOST_UNIT = 2.0**-4, 2.0**-12, 1.0
"""Bounds of units. Biases may all be near zero in the generic student and still be worth moving."""
RANK = 2
FACTOR_SPREAD = 0.25
"""Standard deviation of the right factor at the start; the left one is zero, so nothing changes yet."""


class Group(StrEnum):
    """Changes that are quantised and trained alike."""

    GAIN = "gain"
    BIAS = "bias"
    KERNEL = "kernel"
    FACTOR = "factor"
    MATRIX = "matrix"


SMALL = (Group.GAIN, Group.BIAS, Group.KERNEL)
RUNGS: Mapping[DoseKind, tuple[Group, ...]] = {
    DoseKind.GAINS: SMALL,
    DoseKind.LOW_RANK: (*SMALL, Group.FACTOR),
    DoseKind.FULL: (*SMALL, Group.MATRIX),
}
"""What the doses of each rung hold, the cheapest rung first."""

Steps: TypeAlias = Mapping[str, float]
"""The step of each change's u, by its name in the patch, such as `Delta.coded` gives."""


@dataclass(frozen=True, eq=False)
class Delta:
    """One change of one tensor: `leaves` are u, or both factors of it."""

    slot: int
    name: str
    group: Group
    unit: float
    shape: tuple[int, ...]
    leaves: tuple[Tensor, ...]

    def applied(self, weights: Tensor, step: float | None) -> Tensor:
        """The tensor after the change, differentiable; in steps, as a client gets it."""
        leaves = self.leaves if step is None else [self._straight_through(u, step) for u in self.leaves]
        if self.group is Group.GAIN:
            return weights * (1.0 + self.unit * leaves[0]).view(-1, *[1] * (weights.dim() - 1))
        u = leaves[0] @ leaves[1] if self.group is Group.FACTOR else leaves[0]
        return weights + self.unit * u.view(weights.shape)

    def coded(self, step: float) -> float:
        """The step with a code that is nearest to this one; NOTHING over the coarsest."""
        if step > COARSEST:
            return NOTHING
        power = 2 if self.group is Group.FACTOR else 1
        return float(step_of(code_of(max(step, FINEST) ** power)) ** (1.0 / power))

    def in_steps(self, u: Tensor, step: float) -> Tensor:
        """u as a whole number of steps; none of it is left in a step over the coarsest."""
        if step > COARSEST:
            return torch.zeros_like(u)
        up = 0.5 if self.group in (Group.GAIN, Group.BIAS) else TOWARDS_ZERO
        return torch.sign(u) * torch.floor(u.abs() / step + up)

    def _straight_through(self, u: Tensor, step: float) -> Tensor:
        return u + (step * self.in_steps(u, step) - u).detach()

    @torch.no_grad()
    def change(self, step: float) -> Change | None:
        """What is sent of it; None where that is nothing."""
        values = [self.in_steps(u, step).to("cpu", torch.int32).numpy() for u in self.leaves]
        if not all(value.any() for value in values):
            return None
        if self.group is Group.GAIN:
            return Scale(self.slot, step * self.unit, values[0])
        if self.group is Group.FACTOR:
            kept = np.flatnonzero(values[0].any(axis=0) & values[1].any(axis=1))
            left, right = values[0][:, kept], values[1][kept]
            return LowRank(self.slot, step * step * self.unit, left, right) if len(kept) else None
        return Add(self.slot, step * self.unit, values[0].reshape(self.shape))


class Patch:
    """All changes of one student. `generic` are the weights that they start from, by name."""

    def __init__(self, base: Base, generic: Mapping[str, Tensor], seed: int = 0) -> None:
        self.generic = {slot.name: generic[slot.name].detach() for slot in base.tensors}
        self._slots = base.tensors
        self._generator = torch.Generator().manual_seed(seed)
        self.deltas: dict[str, Delta] = {}
        self.rung: DoseKind | None = None
        """Where the last climb has led."""

    def climb(self, rung: DoseKind) -> None:
        """Hold what the rung needs: new changes begin at zero, those of other rungs are left out."""
        self.rung, wanted = rung, RUNGS[rung]
        fresh = {key: delta for key, delta in self._all(wanted) if key not in self.deltas}
        merged = self.deltas | fresh
        self.deltas = {key: merged[key] for key in sorted(merged) if merged[key].group in wanted}

    def weights(self, steps: Steps | None) -> dict[str, Tensor]:
        """The changed tensors by name, in steps if there are any."""
        changed: dict[str, Tensor] = {}
        for key, delta in self.deltas.items():
            before = changed.get(delta.name, self.generic[delta.name])
            changed[delta.name] = delta.applied(before, None if steps is None else steps[key])
        return changed

    def changes(self, steps: Steps) -> tuple[Change, ...]:
        """What is sent of it, in wire order."""
        found = [delta.change(steps[key]) for key, delta in self.deltas.items()]
        return tuple(change for change in found if change is not None)

    def leaves(self) -> dict[str, Tensor]:
        """Everything that learns, by a name that is the same in every run of the base."""
        return {
            f"{key}.{part}": u for key, delta in self.deltas.items() for part, u in enumerate(delta.leaves)
        }

    def _all(self, wanted: tuple[Group, ...]) -> Iterator[tuple[str, Delta]]:
        for number, slot in enumerate(self._slots):
            for form, group in enumerate(_groups_of(slot)):
                if group in wanted:
                    yield f"{number:04}.{form}", self._delta(number, slot, group)

    def _delta(self, number: int, slot: TensorSlot, group: Group) -> Delta:
        before = self.generic[slot.name]
        rows, rest = matrix_shape(slot)
        rank = min(RANK, rows, rest)
        own: list[tuple[int, ...]] = [slot.shape]
        if group is Group.GAIN:
            own = [(rows,)]
        elif group is Group.FACTOR:
            own = [(rows, rank), (rank, rest)]
        leaves = [torch.zeros(shape) for shape in own]
        if group is Group.FACTOR:
            leaves[1].normal_(0.0, FACTOR_SPREAD, generator=self._generator)
        unit = 1.0 if group is Group.GAIN else _unit(before, slot)
        placed = tuple(leaf.to(before.device).requires_grad_() for leaf in leaves)
        return Delta(number, slot.name, group, unit, slot.shape, placed)


def _groups_of(slot: TensorSlot) -> tuple[Group, ...]:
    """What may be done to a tensor, in wire order."""
    if slot.kind == "bias":
        return (Group.BIAS,)
    small = slot.kind == "gain" or prod(slot.shape[1:2]) == 1
    return (Group.KERNEL,) if small else (Group.GAIN, Group.FACTOR, Group.MATRIX)


def _unit(weights: Tensor, slot: TensorSlot) -> float:
    """The power of two below the RMS, within bounds."""
    rms = float(weights.square().mean().sqrt())
    least = LEAST_BIAS if slot.kind == "bias" else LEAST_UNIT
    return 2.0 ** (frexp(min(max(rms, least), MOST_UNIT))[1] - 1)
