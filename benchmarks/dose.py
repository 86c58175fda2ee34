#!/usr/bin/env python
"""What doses are worth: on several sequences, per rung of the ladder, with every byte counted, and against
what else the same bytes or the same steps could buy.

    generic student      no dose at all
    gains ... full       a dose of each rung, trained for the same time towards the teacher's pictures
    finer latents        the generic student, all bytes that the best dose adds spent on a finer quantisation
                         of y: its own, and those of its entry in the manifest
    dose-on-originals    the best rung once more, trained towards the originals, not the teacher's pictures
    finer-for-originals  the generic student again, on latents as fine as that dose's bytes allow
    student-alpha-A      students of the same shape, each trained anew for the same steps: towards the
                         teacher's pictures (1), the originals (0: no teacher at all), or both (0.5)

The best dose is the one of least distortion to the teacher + lmbda * bpp, as in the rate search. `gap_closed`
is the share of the generic student's LPIPS to the teacher that it takes away; `lpips_total_bytes_gain` how
much nearer to the original it is, in LPIPS, than finer latents of as many bytes in all; `originals` is of the
dose that is trained towards these, with its LPIPS to them and the teacher's. `latents_worth`: the distortion
to the originals that finer latents take away for each bit per pixel, the lmbda at which a dose and latents
are an even bargain. DISTS is a mean over a few pictures of each sequence. The students are trained with
--controls alone.
"""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.dosing import add_options, by_name, encoder_of, recipe_of
from microdose.base import LoadedBase
from microdose.decoder import to_pixels
from microdose.dose import DoseKind
from microdose.resources import DoseAim, DoseChoice
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.graphs import student_to_onnx
from microdose_server.codec.student import STUDENTS
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.generic import Aim, GenericRun, distil_generic, generic_recipe
from microdose_server.distil.progress import Progress
from microdose_server.distil.specialise import Budget
from microdose_server.evaluate import dists_weights, program
from microdose_server.evaluate.engines import graph_painter
from microdose_server.evaluate.finer import Analysed, analyse, finer_latents
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.sequences import read_sequence
from microdose_server.evaluate.study import Shown, Study, Variant, break_even, cost, gap_closed, to_json
from microdose_server.training.data import crops
from microdose_server.training.denormal import flushed_denormals
from microdose_server.training.loop import Budget as Steps
from microdose_server.training.lpips import LPIPS
from microdose_server.training.options import count, none_or_more
from microdose_server.training.photos import load_photos

RUNGS = [choice.value for choice in DoseChoice if choice not in (DoseChoice.AUTO, DoseChoice.NONE)]
GENERIC, FINER, ON_ORIGINALS = "generic", "finer latents", "dose-on-originals"
FINER_FOR_ORIGINALS = "finer-for-originals"
ALPHAS = (1.0, 0.0, 0.5)


def students(teacher: Teacher, args: argparse.Namespace, progress: Report) -> dict[str, bytes]:
    """Students of the profile's shape as graphs, one per share of the teacher in the target.

    All see the same crops from the same start, for the same steps.
    """
    recipe, made = generic_recipe(), {}
    photos = load_photos(args.controls, recipe.crop)
    for number, alpha in enumerate(ALPHAS):

        def tell(now: Progress, at: int = number) -> None:
            progress(Step("training students", at * now.steps + now.step, len(ALPHAS) * now.steps))

        run = GenericRun.start(teacher, STUDENTS[args.shape or args.profile], recipe, aim=Aim(alpha))
        batches = crops(photos, recipe.batch, recipe.crop, np.random.default_rng(0))
        student = distil_generic(run, batches, LPIPS(), Steps(args.control_steps), tell)
        made[f"student-alpha-{alpha:g}"] = student_to_onnx(student)
    return made


def finer(study: Study, analysed: Sequence[Analysed], name: str, total_bytes: int) -> Shown:
    """The generic student on latents as fine as that many bytes in all allow."""
    coded = sum(map(len, study.segments))
    besides = study.total_bytes(None, DoseKind.NONE) - coded
    size, latents = finer_latents(analysed, study.base, total_bytes - besides)
    paint = graph_painter(study.base.student, threads=0)
    shown = [
        to_pixels(paint(y_hat)[:, : picture.shape[0], : picture.shape[1]])
        for y_hat, picture in zip(latents, study.originals, strict=True)
    ]
    return Shown(name, shown, besides + size)


def measure(
    study: Study, teacher: Teacher, others: Mapping[str, bytes], args: argparse.Namespace, progress: Report
) -> tuple[dict[str, Variant], str]:
    """(all variants by name, the name of the best rung)."""
    budget = Budget(args.steps, args.seconds)

    def tell(now: Progress) -> None:
        progress(Step("distilling", now.step, now.steps))

    doses = {rung: study.dosed(DoseChoice(rung), DoseAim.TEACHER, budget, tell) for rung in args.rungs}
    found = study.judge([study.teacher(), study.generic(), *doses.values()])
    best = min(args.rungs, key=lambda rung: cost(found[rung], study.lmbda))
    aimed = study.dosed(DoseChoice(best), DoseAim.ORIGINALS, budget, tell, ON_ORIGINALS)
    analysed = analyse(teacher, study.base, study.originals, study.segments)
    rivals = [
        finer(study, analysed, FINER, doses[best].total_bytes),
        aimed,
        finer(study, analysed, FINER_FOR_ORIGINALS, aimed.total_bytes),
    ]
    found |= study.judge([*rivals, *(study.generic(*other) for other in others.items())])
    return found, best


def weights_of(base: LoadedBase) -> int:
    """How many of the student's weights a dose can change."""
    return sum(prod(slot.shape) for slot in base.document.tensors)


def latents_worth(generic: Variant, finer: Variant) -> float | None:
    """Distortion to the originals that finer latents take away per bit per pixel; None if there are none."""
    saved = generic.to_original.distortion - finer.to_original.distortion
    spent = finer.bpp_total - generic.bpp_total
    return saved / spent if spent > 0.0 else None


def figures(study: Study, found: Mapping[str, Variant], best: str) -> dict[str, Any]:
    """What is quoted of one sequence."""
    own, generic, aimed = found[best], found[GENERIC], found[ON_ORIGINALS]
    finer, finer_for_aimed = found[FINER], found[FINER_FOR_ORIGINALS]
    per_picture = study.pixels / len(study.originals)
    return {
        "rung": best,
        "worth_it": cost(own, study.lmbda) < cost(generic, study.lmbda),
        "dose_bytes": own.dose_bytes,
        "bits_per_weight": 8.0 * own.dose_bytes / weights_of(study.base),
        "gap_closed": gap_closed(own, generic),
        "bpp_total": own.bpp_total,
        "lpips_total_bytes_gain": finer.to_original.lpips - own.to_original.lpips,
        "latents_worth": latents_worth(generic, finer),
        "seconds": own.seconds,
        "originals": {
            "dose_bytes": aimed.dose_bytes,
            "bpp_total": aimed.bpp_total,
            "lpips": aimed.to_original.lpips,
            "lpips_teacher": found["teacher"].to_original.lpips,
            "lpips_total_bytes_gain": finer_for_aimed.to_original.lpips - aimed.to_original.lpips,
            "latents_worth": latents_worth(generic, finer_for_aimed),
        },
        "gap_closed_per_rung": {rung: gap_closed(found[rung], generic) for rung in RUNGS if rung in found},
        "break_even_pictures": {
            rung: break_even(found[rung], generic, per_picture, study.lmbda)
            for rung in RUNGS
            if rung in found
        },
    }


def table(found: Mapping[str, Any]) -> str:
    """All variants of all sequences, for people."""
    lines = []
    for name, numbers in found["sequences"].items():
        lines.append(f"{name}: {numbers['pictures']} pictures")
        lines.append(
            "  variant               dose, bytes     bpp  to teacher: dB  LPIPS  to original: dB  LPIPS moved"
        )
        for title, row in numbers["variants"].items():
            near, true = row["to_teacher"], row["to_original"]
            lines.append(
                f"  {title:19}{row['dose_bytes']:11}{row['bpp_total']:8.4f}"
                f"{near['psnr']:15.2f}{near['lpips']:8.4f}{true['psnr']:16.2f}{true['lpips']:8.4f}"
                f"{true['lpips_moved']:7.4f}"
            )
        lines += [f"  {figure}: {value}" for figure, value in found["figures"][name].items()]
    return "\n".join(lines)


def plot(found: Mapping[str, Any], file: Path) -> None:
    """A PNG: the gap that each rung closes against its bytes, and what bytes in all buy, by sequence."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 6), layout="constrained")
    gaps, rates = figure.subplots(1, 2)
    for number, (name, numbers) in enumerate(found["sequences"].items()):
        colour, variants = f"C{number}", numbers["variants"]
        closed = found["figures"][name]["gap_closed_per_rung"]
        rungs = sorted(closed, key=lambda rung: variants[rung]["dose_bytes"])
        sizes = [variants[rung]["dose_bytes"] for rung in rungs]
        gaps.plot(sizes, [closed[rung] for rung in rungs], "o-", color=colour, label=name)
        marks = {FINER: "x", FINER_FOR_ORIGINALS: "x", ON_ORIGINALS: "D", "teacher": "*"}
        for title, mark in {GENERIC: "s", **dict.fromkeys(rungs, "o"), **marks}.items():
            row = variants[title]
            point = row["bpp_total"], row["to_original"]["lpips"]
            rates.plot(*point, mark, color=colour, label=title if number == 0 else None)
            rates.annotate(title, point, fontsize=6)
    gaps.set(xlabel="bytes of the dose", ylabel="share of the LPIPS to the teacher that is closed")
    rates.set(xlabel="bits per pixel, every byte counted", ylabel="LPIPS to the original")
    for panel in (gaps, rates):
        panel.grid(alpha=0.3)
    gaps.legend()
    figure.savefig(file)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Measure doses of every rung on sequences, with every byte counted, and their controls.",
        "benchmarks/dose.py trees/ street.mp4 --controls photos/ --output doses/ --json > dose.json",
    )
    add_options(found)
    add = found.add_argument
    add("--pictures", type=count, default=24, metavar="N", help="of each sequence (default: 24)")
    add("--rungs", nargs="+", choices=RUNGS, default=RUNGS, help="default: all")
    add("--controls", type=Path, metavar="DIR", help="train the students, on these photographs")
    add("--control-steps", type=count, default=2000, metavar="N", help="of each student (default: 2000)")
    add("--shape", choices=sorted(STUDENTS), help="of the students, if not the profile's")
    add("--dists", type=none_or_more, default=4, metavar="N", help="pictures that DISTS is of (default: 4)")
    add("--output", type=program.folder, metavar="DIR", help="write dose.json and dose.png there")
    return found


@flushed_denormals()
def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Train the students that controls need, then measure one sequence after another.

    What would be missed only after hours is looked for first.
    """
    if args.dists:
        dists_weights.WEIGHTS.find()
    encoder = encoder_of(args)
    teacher, recipe = encoder.teacher, recipe_of(args)
    sequences = [(name, read_sequence(path, args.pictures)) for name, path in by_name(args.sequences).items()]
    others = students(teacher, args, progress) if args.controls else {}
    found: dict[str, Any] = {"figures": {}, "sequences": {}, "machine": machine()}
    for name, pictures in sequences:
        progress(Step("measuring", len(found["sequences"]), len(sequences), name))
        study = Study.of(encoder, pictures, args.dists, args.lmbda, recipe)
        variants, best = measure(study, teacher, others, args, progress)
        found["figures"][name] = figures(study, variants, best)
        found["sequences"][name] = {
            "pictures": len(pictures),
            "pixels": study.pixels,
            "profile": args.profile,
            "variants": to_json(variants),
        }
    return found


def keep(args: argparse.Namespace, found: dict[str, Any]) -> None:
    """Write the files, if they are wanted."""
    if args.output:
        (args.output / "dose.json").write_text(json.dumps(found, indent=2) + "\n")
        plot(found, args.output / "dose.png")


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("dose.py", parser().parse_args(argv), run, reporter(), table, keep=keep)


if __name__ == "__main__":
    sys.exit(main())
