"""``microdose-server distil``: the generic student of a teacher, exported as its base."""

import argparse
import json
import sys
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from microdose_server.codec.encode import to_tensor
from microdose_server.codec.export import HYPER_CLAMP, export_base
from microdose_server.codec.folder import save_base
from microdose_server.codec.hyperprior import pad_latents
from microdose_server.codec.integer import quantise_hyperprior
from microdose_server.codec.shipped import load_teacher, teacher_digest
from microdose_server.codec.student import STUDENTS, Student
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.generic import GenericRun, distil_generic, generic_recipe
from microdose_server.distil.progress import Progress
from microdose_server.training.data import Pixels, crops
from microdose_server.training.loop import Budget
from microdose_server.training.lpips import LPIPS
from microdose_server.training.photos import load_photos

CALIBRATION_PICTURES, CALIBRATION_SIDE = 24, 512
REPORT_EVERY = 50


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the options of ``distil``."""
    parser.epilog = "example: microdose-server distil runs/medium photos/ --hours 0.4"
    parser.add_argument(
        "teacher", type=Path, help="folder with teacher.safetensors; the base is written there"
    )
    parser.add_argument("photos", type=Path, help="folder of photographs: the transfer set")
    parser.add_argument("--student", choices=sorted(STUDENTS), default="standard")
    length = parser.add_mutually_exclusive_group(required=True)
    length.add_argument("--steps", type=int, help="optimiser steps")
    length.add_argument("--hours", type=float, help="hours of distillation")
    parser.add_argument("--name", help="name of the base (default: the folder's)")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--json", action="store_true", help="print one JSON object per line instead of text")


def run(arguments: argparse.Namespace) -> int:
    """Distil, export, and leave base.json, student.onnx and hyper.onnx beside the teacher."""
    teacher = load_teacher(arguments.device, arguments.teacher)
    recipe = generic_recipe()
    photos = load_photos(arguments.photos, recipe.crop)
    training = GenericRun.start(teacher, STUDENTS[arguments.student], recipe)
    batches = crops(photos, recipe.batch, recipe.crop, np.random.default_rng(0))

    def report(progress: Progress) -> None:
        if progress.step % REPORT_EVERY == 0 or progress.step == progress.steps:
            _print(progress, as_json=arguments.json)

    budget = Budget(arguments.steps, arguments.hours)
    student = distil_generic(training, batches, LPIPS().to(arguments.device), budget, report)
    export(arguments.teacher, arguments.name or arguments.teacher.name, teacher.cpu(), student, photos)
    return 0


def export(folder: Path, name: str, teacher: Teacher, student: Student, photos: list[Pixels]) -> None:
    """Quantise the hyperprior on some of the photographs and write the base into ``folder``."""
    hyper = quantise_hyperprior(teacher.hyperprior, hyper_latents(teacher, photos), HYPER_CLAMP)
    save_base(export_base(name, teacher_digest(folder), hyper, teacher.hyperprior.z_prior, student), folder)


@torch.inference_mode()
def hyper_latents(teacher: Teacher, photos: list[Pixels]) -> list[Tensor]:
    """Integer z [1, Cz, h, w] of the upper left corners of pictures spread over ``photos``."""
    chosen = photos[:: max(1, len(photos) // CALIBRATION_PICTURES)]
    hyperprior, latents = teacher.hyperprior, []
    for photo in chosen:
        side = min(CALIBRATION_SIDE, *photo.shape[:2]) // 64 * 64
        y = teacher.g_a(to_tensor(photo[:side, :side]))
        latents.append(torch.round(hyperprior.h_a(pad_latents(y))))
    return latents


def _print(progress: Progress, *, as_json: bool) -> None:
    if as_json:
        print(json.dumps(progress._asdict()), flush=True)
    else:
        line = f"step {progress.step}/{progress.steps}  loss {progress.loss:.4f}  psnr {progress.psnr:.2f} dB"
        print(line, file=sys.stderr, flush=True)
