"""``microdose-server train``: stage 1 of the teacher on a folder of photographs."""

import argparse
import json
import sys
from dataclasses import asdict, replace
from pathlib import Path

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import STRIDE, Teacher
from microdose_server.training.checkpoint import load_state
from microdose_server.training.curve import Curve
from microdose_server.training.data import load_photos, split_held_out
from microdose_server.training.loop import Budget, Run, StepReport, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.pack import pack
from microdose_server.training.preview import evaluate_held_out
from microdose_server.training.recipe import Recipe

LEAST_CROP = 64
"""Below this, LPIPS has nothing to compare."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``train``."""
    parser.epilog = "example: microdose-server train photos/ -o runs/medium --preset medium --hours 2"
    parser.add_argument("photos", type=Path, help="folder of PNG, JPEG, WebP or AVIF photographs")
    parser.add_argument(
        "-o", "--out", type=Path, required=True, help="folder for checkpoint, curve and previews"
    )
    parser.add_argument("--preset", choices=sorted(PRESETS), default="medium")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="optimiser steps of the whole run")
    length.add_argument(
        "--hours", type=float, help="hours of training of the whole run, over all resumptions"
    )
    parser.add_argument("--resume", action="store_true", help="go on from the checkpoint in OUT")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--target-bpp", type=float, default=Recipe.target_bpp)
    parser.add_argument("--learning-rate", type=float, default=Recipe.learning_rate)
    parser.add_argument("--batch", type=int, default=Recipe.batch)
    parser.add_argument("--crop", type=_crop, default=Recipe.crop)
    parser.add_argument("--held-out", type=int, default=6, help="pictures kept aside for previews")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Train, and leave OUT/checkpoint.pt, OUT/curve.csv, OUT/preview.png and OUT/teacher.safetensors."""
    arguments.out.mkdir(parents=True, exist_ok=True)
    recipe = replace(
        Recipe(),
        target_bpp=arguments.target_bpp,
        learning_rate=arguments.learning_rate,
        batch=arguments.batch,
        crop=arguments.crop,
    )
    photos, held_out = split_held_out(load_photos(arguments.photos, recipe.crop), arguments.held_out)
    preset = PRESETS[arguments.preset]
    training = Run(Teacher(preset), recipe, arguments.device)
    checkpoint = arguments.out / "checkpoint.pt"
    if arguments.resume:
        training.restore(load_state(checkpoint, preset.name))
    lpips = LPIPS().to(arguments.device)
    curve = Curve(arguments.out / "curve.csv")
    line = _print_json if arguments.json else _print_text

    def report(step: StepReport) -> None:
        if (mean := curve.add(step)) is not None:
            line(mean._asdict())
        if held_out and step.step % 1000 == 0:
            sheet = arguments.out / "preview.png"
            line(evaluate_held_out(training.teacher, training.ema, held_out, lpips, sheet)._asdict())

    train(training, photos, lpips, Budget(arguments.steps, arguments.hours), checkpoint, report)
    pack(checkpoint, preset.name, arguments.out, {"recipe": asdict(recipe), "photos": len(photos)})
    return 0


def _crop(text: str) -> int:
    side = int(text)
    if side < LEAST_CROP or side % STRIDE:
        raise argparse.ArgumentTypeError(f"must be a multiple of {STRIDE} and at least {LEAST_CROP}")
    return side


def _print_json(figures: dict[str, float]) -> None:
    print(json.dumps(figures), flush=True)


def _print_text(figures: dict[str, float]) -> None:
    print("  ".join(f"{name} {value:.5g}" for name, value in figures.items()), file=sys.stderr, flush=True)
