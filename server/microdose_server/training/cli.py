"""`microdose-server train`: any stage of the teacher, on a folder or shards of photographs."""

import argparse
import logging
from dataclasses import asdict
from pathlib import Path

from microdose.errors import BadUpload, Diverged
from microdose.segment import STRIDE
from microdose_server.codec.presets import PRESETS
from microdose_server.stopping import noting_signals
from microdose_server.training.asked import asked_run
from microdose_server.training.denormal import flushed_denormals
from microdose_server.training.loop import Budget, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.memory import keep_freed_memory
from microdose_server.training.options import count, crop_side, device, none_or_more, positive, weight
from microdose_server.training.pack import pack
from microdose_server.training.peers import joined
from microdose_server.training.photos import GIB, MEMORY, load_apart
from microdose_server.training.precision import placed
from microdose_server.training.recipe import STAGES
from microdose_server.training.reporter import reporting
from microdose_server.writable import writable

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
        help="folder for checkpoint, curve and previews, not among the photographs",
    )
    add("--preset", choices=sorted(PRESETS), default="medium", help="the networks' widths (default: medium)")
    add(
        "--stage",
        type=int,
        choices=sorted(STAGES),
        default=1,
        help="2 adds the discriminator; 3, the last one, fits the bits to whole pictures (default: 1)",
    )
    beginning = parser.add_mutually_exclusive_group()
    beginning.add_argument(
        "--from",
        type=Path,
        dest="start",
        metavar="PATH",
        help="begin with this checkpoint's average, or this folder's teacher",
    )
    beginning.add_argument(
        "--resume", action="store_true", help="go on from the checkpoint in DIR, by the recipe that it has"
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=count, metavar="N", help="optimiser steps of the whole run")
    length.add_argument(
        "--hours", type=positive, metavar="H", help="hours of training of the whole run, over all resumptions"
    )
    add("--device", type=device, default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
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
    """Train, and leave in OUT checkpoint.pt, curve.csv, held_out.csv, preview.png, tensorboard/, meta.json
    and teacher.safetensors.
    """
    _must_be_apart(arguments.out, arguments.photos)
    writable(arguments.out)
    keep_freed_memory()
    checkpoint = arguments.out / CHECKPOINT
    with joined(arguments.device) as peers:
        if not peers.first:  # all see the same, and one tells of it
            logging.getLogger("microdose_server").setLevel(logging.ERROR)
        lpips = placed(LPIPS(), peers.device)  # before a run is restored: making layers draws random numbers
        training = asked_run(arguments, checkpoint, peers)
        peers.share(training.recipe.batch)  # what cannot be shared is told before photographs are read
        recipe, memory = training.recipe, round(arguments.memory * GIB)
        photos, held_out = load_apart(arguments.photos, recipe.crop, recipe.held_out, memory)
        if recipe.held_out and not held_out:
            log.warning(
                "%d photographs are too few to keep some aside: there will be no preview", len(photos)
            )
        budget, every = Budget(arguments.steps, arguments.hours), arguments.evaluate_every
        try:
            with (
                reporting(
                    training, photos, held_out, lpips, arguments.out, every, as_json=arguments.json
                ) as report,
                noting_signals() as stop,
            ):
                if not train(training, photos, lpips, budget, checkpoint, report, stop=stop):
                    log.warning("stopped after step %d, and saved: go on with --resume", training.step)
                    raise KeyboardInterrupt
        except Diverged as error:
            advice = "begin another run with a lower --learning-rate, --from the last good checkpoint, if any"
            raise Diverged(f"{error}; {advice}: {checkpoint}") from None
        if peers.first:
            told = {"recipe": asdict(recipe), "photos": len(photos), "processes": peers.count}
            pack(checkpoint, arguments.preset, arguments.out, told)
    return 0


def _must_be_apart(out: Path, photos: Path) -> None:
    """Raise BadUpload for a run's folder among the photographs: its previews would become some."""
    if out.resolve().is_relative_to(photos.resolve()):
        raise BadUpload(f"{out} lies among the photographs of {photos}: choose an --out elsewhere")
