"""The run that a command line asks for: checked, new or as it was saved."""

from argparse import Namespace
from pathlib import Path
from typing import Any

import torch

from microdose.errors import BadUpload, NotFound
from microdose_server.codec.folder import TEACHER
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import load_state
from microdose_server.training.loop import Run
from microdose_server.training.peers import Peers
from microdose_server.training.prior import PriorRun
from microdose_server.training.recipe import (
    CONTINUED,
    ENCODER,
    STAGES,
    Recipe,
    StageThree,
    StageTwo,
    inherited,
    option_of,
    settled,
)
from microdose_server.training.start import Start, start_from

UNUSED_BY_RATE = ("target_bpp", "k_p", "lmbda_above", "perceptual_crops")
"""What stage 3 may take over of another recipe, for a later stage, but cannot be told."""


def asked_run(arguments: Namespace, checkpoint: Path, peers: Peers) -> Run:
    """The run as it was saved in `checkpoint`, or a new one.

    Raises:
        NotFound: there is no checkpoint, or no teacher, to begin with, or the stage needs one.
        BadUpload: the options do not go together, or there is a checkpoint already, or another teacher.
        UnsupportedVersion: what there is was made by another preset, stage, version or recipe.
    """
    preset = PRESETS[arguments.preset]
    if checkpoint.exists() and not arguments.resume:
        raise BadUpload(f"{arguments.out} holds a run already: go on with --resume, or choose another --out")
    if (arguments.out / TEACHER).exists() and not arguments.resume:
        raise BadUpload(f"{arguments.out} holds a teacher, which a run would replace: choose another --out")
    state = load_state(checkpoint, preset.name, arguments.stage) if arguments.resume else None
    _check(arguments, arguments.start is not None or state is not None)
    torch.manual_seed(0)  # every new run of a recipe begins alike
    start = Start(Teacher(preset)) if arguments.start is None else start_from(arguments.start, preset)
    given = {**inherited(start.recipe, arguments.stage), **_given(arguments)}
    kept = state.recipe if state is not None else {}
    training = _run(start, settled(STAGES[arguments.stage](), given, kept), peers)
    if state is not None:
        training.restore(state)
    return training


def _check(arguments: Namespace, can_see: bool) -> None:
    """Whether the stage fits the options, and a teacher that can see already, if there is one."""
    stage = arguments.stage
    if stage > 1 and not can_see:
        raise NotFound(
            f"stage {stage} needs a teacher to begin with: give its checkpoint or folder with --from"
        )
    if arguments.frozen_encoder and not can_see:
        raise BadUpload("--frozen-encoder keeps what a teacher has learnt: give that teacher with --from")
    if arguments.frozen_encoder and stage == 3:
        raise BadUpload("stage 3 trains a part of the encoder alone: leave --frozen-encoder out")
    idle = [option_of(name) for name in UNUSED_BY_RATE if getattr(arguments, name) is not None]
    if idle and stage == 3:
        raise BadUpload(f"stage 3 learns from the rate alone: leave {', '.join(idle)} out")
    if arguments.discriminator_learning_rate is not None and stage != 2:
        raise BadUpload(
            f"stage {stage} has no discriminator: give --discriminator-learning-rate with --stage 2"
        )


def _run(start: Start, recipe: Recipe, peers: Peers) -> Run:
    """The recipe's stage, from its first step."""
    if isinstance(recipe, StageTwo):
        return AdversarialRun(start.teacher, recipe, peers.device, peers=peers, critic=start.critic)
    if isinstance(recipe, StageThree):
        return PriorRun(start.teacher, recipe, peers.device, peers=peers, critic=start.critic)
    return Run(start.teacher, recipe, peers.device, peers=peers)


def _given(arguments: Namespace) -> dict[str, Any]:
    """What the command line changes in a recipe."""
    names = (
        *UNUSED_BY_RATE,
        "learning_rate",
        "discriminator_learning_rate",
        "batch",
        "crop",
        "held_out",
    )
    given = {name: value for name in names if (value := getattr(arguments, name)) is not None}
    if arguments.frozen_encoder:
        given["frozen"] = ENCODER
    return given if arguments.start is None else {**CONTINUED, **given}
