#!/usr/bin/env python
"""Which dose `auto` chooses for sequences of different lengths: the longer one is, the more a dose may weigh.

Each length is as many pictures, evenly spread over the folder or clip; one that the sequence does not have is
all of it, once. They aim at what a worker's would, but are one shot, whatever they show, with all steps and
seconds for one dose on the generic student; a worker divides them among the shots that it finds, and may
build on the doses of earlier ones.

`distortion` is what is left of the generic student's to what the dose aims at, `saved` the share that is not,
`cost` the distortion with the price of the bytes: `auto` sends what has the least.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.dosing import add_options, by_name, encoder_of, recipe_of
from microdose.resources import DoseAim, DoseChoice
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder
from microdose_server.distil.progress import Progress
from microdose_server.distil.rate import Terms
from microdose_server.distil.specialise import Budget, Dosed, Target, specialise
from microdose_server.evaluate import program
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.sequences import check_sequence, read_sequence
from microdose_server.jobs.aiming import aim
from microdose_server.jobs.dosing import pixels_of
from microdose_server.training import options
from microdose_server.training.data import Pixels
from microdose_server.training.denormal import flushed_denormals

LENGTHS = (1, 8, 24, 100)


def targets_of(encoder: Encoder, pictures: Sequence[Pixels], towards: DoseAim) -> list[Target]:
    """What a dose learns from; only towards the teacher's pictures does it paint any."""
    painted = towards is DoseAim.TEACHER
    return [aim(encoder, encoder.analyse(picture)[1], picture, painted) for picture in pictures]


def choose(
    distil: Callable[..., Dosed], targets: Sequence[Target], lmbda: float, progress: Report, title: str
) -> dict[str, Any]:
    """What `auto` ends at for one sequence."""
    spent = [0]

    def tell(now: Progress) -> None:
        spent[0] = now.step
        progress(Step("distilling", now.step, now.steps, title))

    made = distil(targets=targets, report=tell)
    size, pixels = len(made.dose or b""), pixels_of(targets)
    return {
        "rung": made.kind.value,
        "dose_bytes": size,
        "dose_bpp": 8.0 * size / pixels,
        "distortion": made.loss_after,
        "cost": made.loss_after + Terms(lmbda, pixels).price(size),
        "saved": 1.0 - made.loss_after / made.loss_before,
        "steps": spent[0],
    }


@flushed_denormals()
def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Every length of every sequence."""
    sequences = by_name(args.sequences)
    for path in sequences.values():
        check_sequence(path)
    encoder, found = encoder_of(args), dict[str, Any]()
    distil = partial(
        specialise,
        encoder.base,
        choice=DoseChoice.AUTO,
        lmbda=args.lmbda,
        budget=Budget(args.steps, args.seconds),
        epoch=0,
        recipe=recipe_of(args),
    )
    for name, path in sequences.items():
        found[name] = {}
        for length in sorted(args.lengths):
            targets = targets_of(encoder, read_sequence(path, length), DoseAim(args.aim))
            count = str(len(targets))
            if count in found[name]:
                break
            title = f"{name}, {count} pictures"
            found[name][count] = choose(distil, targets, args.lmbda, progress, title)
    chosen = {"aim": args.aim, "lmbda": args.lmbda, "profile": args.profile}
    return {"figures": found, **chosen, "machine": machine()}


def table(found: dict[str, Any]) -> str:
    """All choices, for people."""
    lines = [
        f"{'sequence':20}{'pictures':>9}{'rung':>10}{'bytes':>8}{'bpp':>9}{'distortion':>12}"
        f"{'cost':>9}{'saved':>8}{'steps':>7}"
    ]
    for name, lengths in found["figures"].items():
        for length, row in lengths.items():
            lines.append(
                f"{name:20}{length:>9}{row['rung']:>10}{row['dose_bytes']:8}{row['dose_bpp']:9.4f}"
                f"{row['distortion']:12.4f}{row['cost']:9.4f}{row['saved']:8.1%}{row['steps']:7}"
            )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Show which dose `auto` chooses for 1, 8, 24 and 100 pictures of the same kind.",
        "benchmarks/choices.py street.mp4 --lengths 1 8 24 100 --json > choices.json",
    )
    add_options(found)
    found.add_argument(
        "--lengths",
        nargs="+",
        type=options.count,
        default=LENGTHS,
        metavar="N",
        help="pictures (default: 1 8 24 100)",
    )
    found.add_argument(
        "--aim",
        choices=[aim.value for aim in DoseAim],
        default=DoseAim.ORIGINALS.value,
        help="what the doses are trained towards (default: originals)",
    )
    return found


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("choices.py", parser().parse_args(argv), run, reporter(), table)


if __name__ == "__main__":
    sys.exit(main())
