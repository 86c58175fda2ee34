"""HiFiC's two stages and one of ours as data: what is minimised, to what rate, and how weights move.

HiFiC's own (Mentzer et al. 2020, and its public code) are the losses with k_M, k_P and beta, the weight of
the rate below its target, the batch, stage 2's learning rate, and how a run begins: the target is relaxed and
the weight *halved*, so that the codec learns to see before it learns to save. (Justin-Tan's port doubles the
weight; the code in TensorFlow has 2^-6 for the one below the target.) All other numbers are ours, for small
teachers and short runs. So is what picks the weight: HiFiC asks each batch by itself, and a bit then costs
many times more in crops of much detail than in plain ones, which wastes bits on these.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import TYPE_CHECKING, Any, Self, TypeVar

from microdose.errors import UnsupportedVersion
from microdose_server.training.lpips import PHASES

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

Plan = TypeVar("Plan", bound="DataclassInstance")

ENCODER = ("g_a", "hyperprior")
"""The parts of a teacher that decide which bits are sent."""
PICTURES = ("g_a", "g_s")
"""The parts that decide what is sent and shown, at whatever bits."""
LOSS = ("target_bpp", "k_m", "k_p", "lmbda_above", "lmbda_below", "held_out")
"""What a run takes over of the recipe of the teacher that it begins with."""
CROPS = ("batch", "crop")
"""What it takes over, too, unless one of both is stage 3."""
RATE_BATCHES = 100
"""The rate of a run is the mean of so many batches, the last ones weighing most."""
RATE_SLACK = 0.1
"""How far the rate of a run may lie from its target, relative to it, before one weight alone counts."""
CONTINUED = {"relaxed_until": 0.0, "rate_from_zero_until": 0.0, "perceptual_from": 0.0}
"""What a recipe is told for weights that can see already."""


@dataclass(frozen=True)
class Recipe:
    """Stage 1: rate + k_M * MSE (0..255) + k_P * LPIPS, the rate steered to `target_bpp` by two weights.

    All fractions are of the whole run, which may be measured in steps or in hours.
    """

    target_bpp: float = 0.2
    k_m: float = 0.075 * 2**-5
    k_p: float = 1.0
    lmbda_above: float = 1.5
    """Rate weight above the target: HiFiC has 2 at .14 bpp and 1 at .30; this is between, in log scale."""
    lmbda_below: float = 2**-4
    relaxed_target: float = 0.20 / 0.14
    relaxed_until: float = 0.2
    rate_from_zero_until: float = 0.08
    """The rate weight rises from zero until here: a rate paid before there is a picture kills all latents."""
    perceptual_from: float = 0.3
    """LPIPS of a blur teaches little, and on a CPU it is a large part of a step."""
    perceptual_crops: int = 4
    """LPIPS sees so many crops of each batch, shared by all processes: an unbiased estimate of its mean."""
    perceptual_phases: int = PHASES
    """LPIPS sees crops in one of so many phases each way, at random; 1 is without."""
    learning_rate: float = 4e-4
    least_learning_rate: float = 1e-5
    warm_up: float = 0.01
    constant_until: float = 0.5
    clip_norm: float = 1.0
    ema_decay: float = 0.998
    batch: int = 2
    crop: int = 256
    held_out: int = 6
    """Pictures that are kept aside for previews, where there are more than twice as many."""
    frozen: tuple[str, ...] = ()
    """Parts of the teacher that keep their weights."""

    def continued(self) -> Self:
        """This recipe for weights that can see already: every term weighs in full from the first step."""
        return settled(self, CONTINUED, {})

    def target_at(self, progress: float) -> float:
        """Target rate in bpp after this fraction of the run."""
        return self.target_bpp * (self.relaxed_target if progress < self.relaxed_until else 1.0)

    def rate_weight_at(self, progress: float, bpp: float) -> float:
        """Weight of the rate term in a run whose batches cost `bpp` in the mean: from `lmbda_below` to
        `lmbda_above`, evenly in their logarithm, as the rate goes from `RATE_SLACK` below to as far above.
        """
        over = bpp / self.target_at(progress) - 1.0
        share = min(max(0.5 + 0.5 * over / RATE_SLACK, 0.0), 1.0)
        weight: float = self.lmbda_below ** (1.0 - share) * self.lmbda_above**share
        relaxed = 0.5 if progress < self.relaxed_until else 1.0
        rising = progress < self.rate_from_zero_until
        return weight * relaxed * (progress / self.rate_from_zero_until if rising else 1.0)

    def learning_rate_at(self, progress: float) -> float:
        """Linear warm-up, a plateau, then half a cosine down to the least rate, if that is less."""
        if progress < self.warm_up:
            return self.learning_rate * progress / self.warm_up
        fall = max(0.0, (progress - self.constant_until) / (1.0 - self.constant_until))
        cosine = 0.5 * (1.0 + math.cos(math.pi * min(1.0, fall)))
        least = min(self.least_learning_rate, self.learning_rate)
        return least + (self.learning_rate - least) * cosine


@dataclass(frozen=True)
class StageTwo(Recipe):
    """Stage 2: stage 1's loss from start to end, plus beta * (-log D), from the weights that stage 1 left.

    With `frozen=ENCODER` only the generator learns and the bits stay what they are, as in MS-ILLM (Muckley
    et al. 2023), which then needs a tenth of HiFiC's steps.
    """

    beta: float = 0.15
    discriminator_learning_rate: float = 1e-4
    relaxed_until: float = 0.0
    rate_from_zero_until: float = 0.0
    perceptual_from: float = 0.0
    perceptual_crops: int = 8
    learning_rate: float = 1e-4

    def discriminator_learning_rate_at(self, progress: float) -> float:
        """The discriminator's rate moves as the generator's does."""
        return self.discriminator_learning_rate * self.learning_rate_at(progress) / self.learning_rate


@dataclass(frozen=True)
class StageThree(Recipe):
    """Stage 3: the rate alone moves the hyperprior alone, on crops as large as pictures.

    In a crop of 128 pixels, 8x8 latents, all that h_a and h_s see touches the zeros around it; in a picture
    little does. A prior that knows small crops alone is wrong inside pictures, and bits are what that costs.
    The pictures stay what they are. The loss that is taken over waits for a later stage.
    """

    learning_rate: float = 5e-4
    constant_until: float = 0.0
    ema_decay: float = 0.98
    batch: int = 1
    crop: int = 512
    frozen: tuple[str, ...] = PICTURES


STAGES: Mapping[int, type[Recipe]] = {1: Recipe, 2: StageTwo, 3: StageThree}
"""The recipe of each stage, with its defaults."""


def option_of(name: str) -> str:
    """The option of the command line that tells a recipe its field `name`."""
    return {"lmbda_above": "--lmbda", "frozen": "--frozen-encoder"}.get(name, f"--{name.replace('_', '-')}")


def inherited(recipe: Mapping[str, Any], stage: int) -> dict[str, Any]:
    """What a stage takes over of the recipe of the teacher that it begins with, as far as that is known: its
    loss, and its crops, but to or from stage 3, whose crops are its own.
    """
    large = stage == 3 or tuple(recipe.get("frozen", ())) == PICTURES
    return {name: recipe[name] for name in (LOSS if large else (*LOSS, *CROPS)) if name in recipe}


def settled(default: Plan, given: Mapping[str, Any], kept: Mapping[str, Any]) -> Plan:
    """By what a run learns: `default` with what is `given`, or, resumed, what its checkpoint has `kept`.

    Raises UnsupportedVersion where something given differs from what is kept, or this version does not know
    what is.
    """
    if unknown := sorted(kept.keys() - {each.name for each in fields(default)}):
        raise UnsupportedVersion(
            f"the checkpoint's run learns by {', '.join(unknown)}, of which this version knows nothing: "
            "go on with the version that began it, or start another run"
        )
    for name, value in given.items():
        if name in kept and kept[name] != value:
            raise UnsupportedVersion(
                f"the checkpoint's run has {option_of(name)} {kept[name]} and cannot go on with {value}: "
                "leave the option out, or start another run"
            )
    return replace(default, **{**given, **kept})
