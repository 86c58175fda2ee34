#!/usr/bin/env python
"""What refined latents are worth: on several sequences, for students and for the teacher, by every byte.

    teacher          the teacher's pictures of the encoder's latents: nothing is refined, nothing distilled
    generic          the student's, without a dose
    dosed            with the dose that `auto` takes towards the originals
    refined-generic  latents moved for the student, in --refine steps a picture
    refined-dosed    moved for the student with that dose, as `push --refine` does
    refined-teacher  moved for the teacher's generator: what its codec could do, to who can afford it

`seconds` of the refined ones are those of all pictures, without the dose. DISTS, by which nothing is refined,
is a mean over a few pictures of each sequence. `flicker` is what changes from picture to picture and should
not (`evaluate.flicker`): each picture is refined by itself, and knows nothing of its neighbours.
"""

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.dosing import add_options, by_name, encoder_of, recipe_of
from microdose.resources import DoseAim, DoseChoice
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder
from microdose_server.distil.progress import Progress
from microdose_server.distil.refine import LMBDA, Refinement
from microdose_server.distil.specialise import Budget
from microdose_server.evaluate import dists_weights, program
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.sequences import read_sequence
from microdose_server.evaluate.study import Study, Variant, to_json
from microdose_server.training.denormal import flushed_denormals
from microdose_server.training.options import count, none_or_more, positive

GENERIC, DOSED, TEACHER = WAYS = "generic", "dosed", "teacher"


def measure(study: Study, encoder: Encoder, args: argparse.Namespace, progress: Report) -> dict[str, Variant]:
    """All variants by name."""
    recipe, pictures = Refinement(args.refine, lmbda=args.price), len(study.originals)

    def distilling(now: Progress) -> None:
        progress(Step("distilling", now.step, now.steps))

    def refining(title: str) -> Callable[[int], None]:
        return lambda done: progress(Step("refining", done, pictures, title))

    ways = [study.teacher(), generic := study.generic()]
    if DOSED in args.ways:
        budget = Budget(args.steps, args.seconds)
        dosed = study.dosed(DoseChoice(args.dose), DoseAim.ORIGINALS, budget, distilling, DOSED)
        ways += [dosed, study.refined(dosed, encoder, recipe, refining(DOSED), f"refined-{DOSED}")]
    if GENERIC in args.ways:
        ways.append(study.refined(generic, encoder, recipe, refining(GENERIC), f"refined-{GENERIC}"))
    if TEACHER in args.ways:
        ways.append(study.refined_teacher(encoder, recipe, refining(TEACHER), f"refined-{TEACHER}"))
    return study.judge(ways)


def figures(found: dict[str, Variant]) -> dict[str, Any]:
    """What is quoted of one sequence: refined ways against the same as they were."""
    return {
        name: {
            "bpp_total": refined.bpp_total,
            "bytes_ratio": refined.bpp_total / plain.bpp_total,
            "lpips": refined.to_original.lpips,
            "lpips_moved": refined.to_original.lpips_moved,
            "lpips_ratio": refined.to_original.lpips / plain.to_original.lpips,
            "psnr_gain": refined.to_original.psnr - plain.to_original.psnr,
            "flicker": refined.flicker,
            "seconds": refined.seconds,
        }
        for name, plain in found.items()
        if (refined := found.get(f"refined-{name}"))
    }


def table(found: dict[str, Any]) -> str:
    """All variants of all sequences, for people."""
    lines = []
    for name, numbers in found["sequences"].items():
        lines.append(f"{name}: {numbers['pictures']} pictures")
        lines.append(
            "  variant           dose, bytes      bpp   PSNR, dB   LPIPS   moved   DISTS flicker  seconds"
        )
        for title, row in numbers["variants"].items():
            near = row["to_original"]
            dists = "" if near["dists"] is None else f"{near['dists']:.3f}"
            moving = "" if row["flicker"] is None else f"{row['flicker']:.2f}"
            lines.append(
                f"  {title:16}{row['dose_bytes']:13}{row['bpp_total']:9.4f}{near['psnr']:11.2f}"
                f"{near['lpips']:8.4f}{near['lpips_moved']:8.4f}{dists:>8}{moving:>8}{row['seconds']:9.0f}"
            )
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Measure what refined latents are worth, with every byte counted.",
        "benchmarks/refine.py street.mp4 kodak/ --refine 12 --steps 600 --json > refine.json",
    )
    add_options(found)
    add = found.add_argument
    add("--refine", type=count, default=12, metavar="N", help="steps for each picture (default: 12)")
    add(
        "--price",
        type=positive,
        default=LMBDA,
        metavar="D",
        help=f"distortion that a bit per pixel of latents must save (default: {LMBDA}); --lmbda is of doses",
    )
    add("--pictures", type=count, default=24, metavar="N", help="of each sequence (default: 24)")
    add("--ways", nargs="+", choices=WAYS, default=WAYS, help="what latents are refined for (default: all)")
    rungs = [choice.value for choice in DoseChoice if choice is not DoseChoice.NONE]
    add("--dose", choices=rungs, default="auto", help="a rung, for dosed (default: auto)")
    add("--dists", type=none_or_more, default=4, metavar="N", help="pictures that DISTS is of (default: 4)")
    return found


@flushed_denormals()
def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Measure one sequence after another; what would be missed late is looked for first."""
    if args.dists:
        dists_weights.WEIGHTS.find()
    encoder, recipe = encoder_of(args), recipe_of(args)
    sequences = [(name, read_sequence(path, args.pictures)) for name, path in by_name(args.sequences).items()]
    found: dict[str, Any] = {"figures": {}, "sequences": {}}
    for name, pictures in sequences:
        progress(Step("measuring", len(found["sequences"]), len(sequences), name))
        study = Study.of(encoder, pictures, args.dists, args.lmbda, recipe)
        variants = measure(study, encoder, args, progress)
        found["figures"][name] = figures(variants)
        found["sequences"][name] = {"pictures": len(pictures), "variants": to_json(variants)}
    asked = {"refine": args.refine, "price": args.price, "profile": args.profile}
    return {**found, **asked, "machine": machine()}


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("refine.py", parser().parse_args(argv), run, reporter(), table)


if __name__ == "__main__":
    sys.exit(main())
