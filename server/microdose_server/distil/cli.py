"""`microdose-server distil`: a generic student of a teacher, exported as a base in the teacher's folder."""

import argparse
import json
import logging
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from microdose.errors import DigestMismatch, NotFound, UnsupportedVersion
from microdose_server.codec.encode import to_tensor
from microdose_server.codec.export import HYPER_CLAMP, export_base
from microdose_server.codec.folder import load_base, save_base, students_of
from microdose_server.codec.hyperprior import pad_latents
from microdose_server.codec.integer import quantise_hyperprior
from microdose_server.codec.shipped import load_teacher, teacher_digest
from microdose_server.codec.student import STUDENTS, Student, student_from_onnx
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.generic import Aim, GenericRun, distil_generic, generic_recipe
from microdose_server.distil.progress import Progress
from microdose_server.stopping import noting_signals
from microdose_server.training.batches import Batches
from microdose_server.training.checkpoint import read_saved, write_saved
from microdose_server.training.data import Pixels
from microdose_server.training.denormal import flushed_denormals
from microdose_server.training.loop import Budget
from microdose_server.training.lpips import LPIPS
from microdose_server.training.options import count, crop_side, device, positive, weight
from microdose_server.training.peers import must_be_here
from microdose_server.training.photos import load_photos
from microdose_server.training.precision import placed
from microdose_server.training.recipe import CONTINUED, Recipe, settled

log = logging.getLogger(__name__)

CALIBRATION_PICTURES, CALIBRATION_SIDE = 24, 512
REPORT_EVERY = 50
CHECKPOINT = "checkpoint.pt"


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of `distil`."""
    parser.epilog = "example: microdose-server distil runs/medium photos/ --student live --hours 0.4"
    parser.add_argument(
        "teacher", type=Path, help="folder with teacher.safetensors; the base goes into a folder in it"
    )
    parser.add_argument("photos", type=Path, help="folder of photographs: the transfer set")
    parser.add_argument(
        "--student", choices=sorted(STUDENTS), default="standard", help="its shape (default: standard)"
    )
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=count, metavar="N", help="optimiser steps")
    length.add_argument(
        "--hours", type=positive, metavar="H", help="hours of distillation, over all resumptions"
    )
    beginning = parser.add_mutually_exclusive_group()
    beginning.add_argument(
        "--from",
        type=Path,
        dest="start",
        metavar="DIR",
        help="begin with the student of this shape of another teacher, in its folder",
    )
    beginning.add_argument("--resume", action="store_true", help="go on from the checkpoint, as it began")
    parser.add_argument(
        "--alpha",
        type=_share,
        metavar="A",
        help="the teacher's share of the target (default: 1)",
    )
    parser.add_argument(
        "--features",
        type=weight,
        metavar="W",
        help="weight of the teacher's features (default: 0)",
    )
    parser.add_argument("--batch", type=count, metavar="N", help="crops per step")
    parser.add_argument(
        "--crop", type=crop_side, metavar="N", help=f"their side in pixels (default: {Recipe.crop})"
    )
    parser.add_argument("--name", help="name of the base (default: the folder's and the student's)")
    parser.add_argument("--device", type=device, default="cpu", help="cpu, cuda or cuda:N (default: cpu)")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of text")


@flushed_denormals()
def run(arguments: argparse.Namespace) -> int:
    """Distil, export, and leave the student's folder, and hyper.onnx beside the teacher."""
    folder, student_name = arguments.teacher, arguments.student
    must_be_here(arguments.device)
    teacher = load_teacher(arguments.device, folder)
    checkpoint = folder / student_name / CHECKPOINT
    saved = read_checkpoint(checkpoint) if arguments.resume else None
    recipe, aim = _settled(arguments, saved or {})
    photos = load_photos(arguments.photos, recipe.crop)
    training = GenericRun.start(teacher, STUDENTS[student_name], recipe, aim=aim)
    if arguments.start is not None:
        training.take_up(student_from_onnx(load_base(arguments.start, student_name).student))
    if saved is not None:
        resume(training, saved, checkpoint)
    # Another seed after a resumption: the run goes on with crops that it has not seen.
    rng = np.random.default_rng([0, training.step])
    lpips, budget = placed(LPIPS(), arguments.device), Budget(arguments.steps, arguments.hours)
    report, save = _reporter(arguments.json), _saver(checkpoint)
    with Batches(photos, recipe.batch, recipe.crop, rng) as batches, noting_signals() as stop:
        try:
            student = distil_generic(training, batches, lpips, budget, report, save, stop)
        except KeyboardInterrupt:
            log.warning("stopped after step %d, and saved: go on with --resume", training.step)
            raise
    name = arguments.name or f"{folder.name}-{student_name}"
    export(folder, student_name, name, teacher.cpu(), student, photos)
    checkpoint.unlink(missing_ok=True)
    return 0


def read_checkpoint(path: Path) -> dict[str, Any]:
    """The state of a run that did not end. Raises NotFound; UnsupportedVersion for what cannot be read."""
    if not path.is_file():
        raise NotFound(f"no checkpoint at {path} to resume; start without --resume")
    return read_saved(path)


def _settled(arguments: argparse.Namespace, saved: Mapping[str, Any]) -> tuple[Recipe, Aim]:
    """By what the run learns: options, or what its checkpoint says."""
    recipe = {} if arguments.start is None else dict(CONTINUED)
    crops = {"batch": arguments.batch, "crop": arguments.crop}
    recipe |= {name: value for name, value in crops.items() if value is not None}
    aim = {"alpha": arguments.alpha, "features": arguments.features}
    aim = {name: value for name, value in aim.items() if value is not None}
    return (
        settled(generic_recipe(), recipe, saved.get("recipe", {})),
        settled(Aim(), aim, saved.get("aim", {})),
    )


def resume(training: GenericRun, state: dict[str, Any], checkpoint: Path) -> None:
    """Go on from the state that a checkpoint has. Raises UnsupportedVersion for another student's."""
    try:
        training.restore(state)
    except (RuntimeError, KeyError, ValueError) as error:
        raise UnsupportedVersion(
            f"{checkpoint} is not a checkpoint of this student and teacher: {str(error).splitlines()[0]}"
        ) from None


def export(
    folder: Path, student_name: str, name: str, teacher: Teacher, student: Student, photos: Sequence[Pixels]
) -> None:
    """Write the student's base into the teacher's folder.

    The hyperprior is quantised on some of the photographs, unless another student of this teacher has it.
    """
    digest = teacher_digest(folder)
    hyper = _hyper_there(folder, digest)
    if hyper is None:
        latents = hyper_latents(teacher, photos)
        hyper = quantise_hyperprior(teacher.hyperprior, latents, HYPER_CLAMP).to_onnx()
    save_base(export_base(name, digest, hyper, teacher.hyperprior.z_prior, student), folder, student_name)


def _hyper_there(folder: Path, teacher: str) -> bytes | None:
    """The hyper-synthesis that another student of the same teacher already uses."""
    for student in students_of(folder):
        with suppress(DigestMismatch):  # a student of an earlier teacher in this folder
            base = load_base(folder, student)
            if base.document.teacher == teacher:
                return base.hyper
    return None


@torch.inference_mode()
def hyper_latents(teacher: Teacher, photos: Sequence[Pixels]) -> list[Tensor]:
    """Integer z [1, Cz, h, w] of the upper left corners of pictures spread over `photos`."""
    chosen = photos[:: max(1, len(photos) // CALIBRATION_PICTURES)]
    hyperprior, latents = teacher.hyperprior, []
    for photo in chosen:
        side = min(CALIBRATION_SIDE, *photo.shape[:2]) // 64 * 64
        y = teacher.g_a(to_tensor(photo[:side, :side]))
        latents.append(torch.round(hyperprior.h_a(pad_latents(y))))
    return latents


def _saver(path: Path) -> Callable[[GenericRun], None]:
    """What writes checkpoints."""

    def save(training: GenericRun) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_saved(training.state(), path)

    return save


def _reporter(as_json: bool) -> Callable[[Progress], None]:
    def report(progress: Progress) -> None:
        if progress.step % REPORT_EVERY == 0 or progress.step == progress.steps:
            _print(progress, as_json=as_json)

    return report


def _print(progress: Progress, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(progress._asdict()), flush=True)
    else:
        line = f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  psnr {progress.psnr:.2f} dB"
        print(line, file=sys.stderr, flush=True)


def _share(text: str) -> float:
    value = float(text)
    if not 0.0 <= value <= 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not a share in 0..1")
    return value
