"""`microdose-server train`: any stage of the teacher, on a folder or shards of photographs."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from microdose.errors import BadUpload, Diverged, NotFound
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import STRIDE, Teacher
from microdose_server.stopping import noting_signals
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import load_state
from microdose_server.training.curve import Curve
from microdose_server.training.data import Pixels, split_held_out
from microdose_server.training.denormal import flushed_denormals
from microdose_server.training.loop import Budget, Run, StepReport, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.memory import keep_freed_memory
from microdose_server.training.options import count, crop_side, none_or_more, positive, weight
from microdose_server.training.pack import pack
from microdose_server.training.peers import Peers, joined
from microdose_server.training.photos import GIB, MEMORY, load_photos
from microdose_server.training.precision import placed
from microdose_server.training.preview import HeldOut, evaluate_held_out
from microdose_server.training.prior import PriorRun
from microdose_server.training.recipe import (
    CONTINUED,
    ENCODER,
    STAGES,
    Recipe,
    StageThree,
    StageTwo,
    inherited,
    settled,
)
from microdose_server.training.start import recipe_from, teacher_from

CHECKPOINT = "checkpoint.pt"

log = logging.getLogger(__name__)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `train`."""
    parser.epilog = (
        "example: microdose-server train photos/ -o runs/one --hours 2, then "
        "microdose-server train photos/ -o runs/two --steps 600 --stage 3 --from runs/one/checkpoint.pt"
    )
    add = parser.add_argument
    add("photos", type=Path, help="folder of photographs or plain .tar shards, or one shard")
    add(
        "-o",
        "--out",
        type=Path,
        required=True,
        metavar="DIR",
        help="folder for checkpoint, curve and previews",
    )
    add("--preset", choices=sorted(PRESETS), default="medium", help="the networks' widths (default: medium)")
    add(
        "--stage",
        type=int,
        choices=sorted(STAGES),
        default=1,
        help="2 adds the discriminator; 3, the last one, fits the bits to whole pictures (default: 1)",
    )
    add(
        "--from",
        type=Path,
        dest="start",
        metavar="PATH",
        help="begin with this checkpoint's average, or this folder's teacher",
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=count, metavar="N", help="optimiser steps of the whole run")
    length.add_argument(
        "--hours", type=positive, metavar="H", help="hours of training of the whole run, over all resumptions"
    )
    add("--resume", action="store_true", help="go on from the checkpoint in DIR, by the recipe that it has")
    add("--device", default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    add(
        "--evaluate-every",
        type=count,
        default=1000,
        metavar="N",
        help="steps from one preview to the next (default: 1000)",
    )
    add(
        "--memory",
        type=positive,
        default=MEMORY / GIB,
        metavar="GIB",
        help=f"memory for decoded photographs, in each process (default: {MEMORY // GIB})",
    )
    add("--json", action="store_true", help="print one JSON object per line instead of text")
    _add_recipe(parser.add_argument_group("recipe", "by what it learns; a resumed run has its own"))


def _add_recipe(group: argparse._ArgumentGroup) -> None:
    """Declare what a recipe may be told."""
    add = group.add_argument
    add("--target-bpp", type=positive, metavar="B", help="bits per pixel above which rate weighs more")
    add("--k-p", type=weight, metavar="W", help="weight of LPIPS")
    add("--lmbda", type=weight, dest="lmbda_above", metavar="W", help="weight of rate above the target")
    add("--perceptual-crops", type=count, metavar="N", help="crops of each batch that LPIPS sees")
    add("--learning-rate", type=positive, metavar="R", help="the highest, once warmed up")
    add("--batch", type=count, metavar="N", help="crops per step, over all processes")
    add("--crop", type=crop_side, metavar="N", help=f"side of a crop in pixels, a multiple of {STRIDE}")
    add(
        "--frozen-encoder",
        action="store_true",
        help="train the generator of --from alone: the bits stay",
    )
    add(
        "--discriminator-learning-rate",
        type=positive,
        metavar="R",
        help="stage 2's other one (default: 1e-4)",
    )
    add("--held-out", type=none_or_more, metavar="N", help="pictures kept aside for previews (default: 6)")


@flushed_denormals()
def run(arguments: argparse.Namespace) -> int:
    """Train, and leave checkpoint.pt, curve.csv, preview.png, tensorboard/ and teacher.safetensors in OUT."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    keep_freed_memory()
    with joined(arguments.device) as peers:
        lpips = placed(LPIPS(), peers.device)  # before a run is restored: making layers draws random numbers
        training = _start(arguments, peers)
        peers.share(training.recipe.batch)  # what cannot be shared is told before photographs are read
        photos = load_photos(arguments.photos, training.recipe.crop, round(arguments.memory * GIB))
        numbers, aside = split_held_out(len(photos), training.recipe.held_out)
        photos, held_out = photos.only(numbers), photos.only(aside)
        if training.recipe.held_out and not held_out:
            log.warning(
                "%d photographs are too few to keep some aside: there will be no preview", len(photos)
            )
        budget, checkpoint = Budget(arguments.steps, arguments.hours), arguments.out / CHECKPOINT
        try:
            with _reporting(arguments, training, held_out, lpips) as report, noting_signals() as stop:
                if not train(training, photos, lpips, budget, checkpoint, report, stop=stop):
                    log.warning("stopped after step %d, and saved: go on with --resume", training.step)
                    raise KeyboardInterrupt
        except Diverged as error:
            advice = "begin another run with a lower --learning-rate, --from the last good checkpoint, if any"
            raise Diverged(f"{error}; {advice}: {checkpoint}") from None
        if peers.first:
            told = {"recipe": asdict(training.recipe), "photos": len(photos), "processes": peers.count}
            pack(checkpoint, arguments.preset, arguments.out, told)
    return 0


def _start(arguments: argparse.Namespace, peers: Peers) -> Run:
    """The run as it was saved, or a new one."""
    preset, checkpoint = PRESETS[arguments.preset], arguments.out / CHECKPOINT
    if checkpoint.exists() and not arguments.resume:
        raise BadUpload(f"{arguments.out} holds a run already: go on with --resume, or choose another --out")
    state = load_state(checkpoint, preset.name, arguments.stage) if arguments.resume else None
    begun = arguments.start if state is None else None
    _check(arguments, begun or state is not None)
    teacher = Teacher(preset) if begun is None else teacher_from(begun, preset)
    given, kept = _given(arguments), state.recipe if state is not None else {}
    if begun is not None:
        given = {**inherited(recipe_from(begun, preset), arguments.stage), **given}
    training = _run(teacher, settled(STAGES[arguments.stage](), given, kept), peers)
    if state is not None:
        training.restore(state)
    return training


def _check(arguments: argparse.Namespace, can_see: bool) -> None:
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
    if arguments.discriminator_learning_rate is not None and stage != 2:
        raise BadUpload(
            f"stage {stage} has no discriminator: give --discriminator-learning-rate with --stage 2"
        )


def _run(teacher: Teacher, recipe: Recipe, peers: Peers) -> Run:
    """The recipe's stage, from its first step."""
    if isinstance(recipe, StageTwo):
        return AdversarialRun(teacher, recipe, peers.device, peers=peers)
    if isinstance(recipe, StageThree):
        return PriorRun(teacher, recipe, peers.device, peers=peers)
    return Run(teacher, recipe, peers.device, peers=peers)


def _given(arguments: argparse.Namespace) -> dict[str, Any]:
    """What the command line changes in a recipe."""
    names = (
        "target_bpp",
        "k_p",
        "lmbda_above",
        "perceptual_crops",
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


@dataclass
class _Reporter:
    """What the first process tells: the curve, a line now and then, and how the held-out pictures do."""

    curve: Curve
    line: Callable[[Mapping[str, float]], None]
    evaluate: Callable[[], HeldOut] | None
    every: int
    evaluated: bool = False

    def __call__(self, step: StepReport) -> None:
        if (mean := self.curve.add(step)) is not None:
            self.line(mean._asdict())
        self.evaluated = step.step % self.every == 0
        if self.evaluated:
            self._evaluate(step.step)

    def finish(self, step: int) -> None:
        """Tell what is left to tell at the end of the run."""
        if (mean := self.curve.rest()) is not None:
            self.line(mean._asdict())
        if not self.evaluated:
            self._evaluate(step)

    def _evaluate(self, step: int) -> None:
        if self.evaluate is not None:
            figures = self.evaluate()._asdict()
            self.curve.show("held-out", figures, step)
            self.line({"evaluated": step, **figures})


@contextmanager
def _reporting(
    arguments: argparse.Namespace, training: Run, held_out: Sequence[Pixels], lpips: LPIPS
) -> Iterator[Callable[[StepReport], None]]:
    if not training.peers.first:
        yield lambda step: None
        return

    def evaluate() -> HeldOut:
        sheet = arguments.out / "preview.png"
        return evaluate_held_out(training.teacher, training.ema, held_out, lpips, sheet)

    curve = Curve(arguments.out / "curve.csv", training.step)
    try:
        line = _print_json if arguments.json else _print_text
        reporter = _Reporter(curve, line, evaluate if held_out else None, arguments.evaluate_every)
        yield reporter
        reporter.finish(training.step)
    finally:
        curve.close()


def _print_json(figures: Mapping[str, float]) -> None:
    print(json.dumps(figures), flush=True)


def _print_text(figures: Mapping[str, float]) -> None:
    print("  ".join(f"{name} {value:.5g}" for name, value in figures.items()), file=sys.stderr, flush=True)
