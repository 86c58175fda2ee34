#!/usr/bin/env python
"""Which dose `auto` chooses for sequences of different lengths: the longer one is, the more a dose may weigh.

Each length is as many pictures, evenly spread over the folder or clip, dosed as a worker does it; one that
the sequence does not have is all of it, once. `saved` is the share of the generic student's distortion, to
what the dose aims at, that the choice takes away.
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.dosing import add_options, by_name, encoder_of, recipe_of
from microdose.resources import DoseAim, DoseChoice
from microdose_client.progress import Report, Step, reporter
from microdose_server.distil.progress import Progress
from microdose_server.distil.specialise import Budget
from microdose_server.evaluate import program
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.sequences import read_sequence
from microdose_server.evaluate.study import Study
from microdose_server.training.denormal import flushed_denormals

LENGTHS = (1, 8, 24, 100)


def choose(study: Study, aim: DoseAim, budget: Budget, progress: Report, title: str) -> dict[str, Any]:
    """What `auto` ends at for one sequence."""
    spent = [0]

    def tell(now: Progress) -> None:
        spent[0] = now.step
        progress(Step("distilling", now.step, now.steps, title))

    made = study.distilled(DoseChoice.AUTO, aim, budget, tell)
    return {
        "rung": made.kind.value,
        "dose_bytes": len(made.dose or b""),
        "dose_bpp": 8.0 * len(made.dose or b"") / study.pixels,
        "saved": 1.0 - made.loss_after / made.loss_before,
        "steps": spent[0],
    }


@flushed_denormals()
def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Every length of every sequence."""
    encoder, recipe = encoder_of(args), recipe_of(args)
    budget, found = Budget(args.steps, args.seconds), dict[str, Any]()
    for name, path in by_name(args.sequences).items():
        found[name] = {}
        for length in sorted(args.lengths):
            study = Study.of(encoder, read_sequence(path, length), 0, args.lmbda, recipe)
            count = str(len(study.originals))
            if count in found[name]:
                break
            title = f"{name}, {count} pictures"
            found[name][count] = choose(study, DoseAim(args.aim), budget, progress, title)
    chosen = {"aim": args.aim, "lmbda": args.lmbda, "profile": args.profile}
    return {"figures": found, **chosen, "machine": machine()}


def table(found: dict[str, Any]) -> str:
    """All choices, for people."""
    lines = [f"{'sequence':20}{'pictures':>9}{'rung':>10}{'bytes':>8}{'bpp':>9}{'saved':>8}{'steps':>7}"]
    for name, lengths in found["figures"].items():
        for length, row in lengths.items():
            lines.append(
                f"{name:20}{length:>9}{row['rung']:>10}{row['dose_bytes']:8}{row['dose_bpp']:9.4f}"
                f"{row['saved']:8.1%}{row['steps']:7}"
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
        "--lengths", nargs="+", type=int, default=LENGTHS, metavar="N", help="pictures (default: 1 8 24 100)"
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
