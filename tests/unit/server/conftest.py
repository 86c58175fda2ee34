"""What several tests of codec, training and distil share, made once: it takes seconds to make."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.datasets import load_sample_image
from torch import Tensor

from microdose.base import LoadedBase
from microdose_server.cli import main
from microdose_server.codec.encode import Encoder, load_encoder, to_tensor
from microdose_server.codec.export import HYPER_CLAMP, export_base
from microdose_server.codec.integer import quantise_hyperprior
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.student import STUDENTS, Student
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.cli import hyper_latents
from microdose_server.distil.generic import GenericRun, distil_generic
from microdose_server.training.data import Pixels, crops
from microdose_server.training.loop import Budget
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe
from tests.photos import encode


@pytest.fixture(scope="session")
def photographs() -> list[Pixels]:
    """Two whole photographs, uint8 [427, 640, 3]."""
    return [np.ascontiguousarray(load_sample_image(name)) for name in ("china.jpg", "flower.jpg")]


@pytest.fixture(scope="session")
def photo_folder(tmp_path_factory: pytest.TempPathFactory, photographs: list[Pixels]) -> Path:
    """A folder of four PNG files, quarters of photographs of at least 200 pixels a side."""
    folder = tmp_path_factory.mktemp("photos")
    for number, photograph in enumerate(photographs):
        for part, columns in enumerate((slice(0, 240), slice(300, 620))):
            (folder / f"{number}{part}.png").write_bytes(encode(photograph[100:300, columns]))
    return folder


@pytest.fixture(scope="session")
def trained(tmp_path_factory: pytest.TempPathFactory, photo_folder: Path) -> Path:
    """What `microdose-server train` leaves after 6 steps of the tiny preset."""
    out = tmp_path_factory.mktemp("trained") / "tiny"
    train = ["train", str(photo_folder), "-o", str(out), "--preset", "tiny", "--steps", "6"]
    assert main([*train, "--batch", "2", "--crop", "64"]) == 0
    return out


@pytest.fixture(scope="session")
def lpips() -> LPIPS:
    """The perceptual distance."""
    return LPIPS()


@pytest.fixture(scope="session")
def tiny_teacher() -> Teacher:
    """A fresh teacher: untrained, but it carries a thumbnail, so that its pictures are real ones, blurred."""
    torch.manual_seed(0)
    return Teacher(PRESETS["tiny"]).requires_grad_(False).eval()


@pytest.fixture(scope="session")
def tiny_student(tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS) -> Student:
    """A generic student after 60 steps of distillation from the tiny teacher."""
    recipe = Recipe(learning_rate=3e-3, warm_up=0.05, perceptual_from=0.8, batch=2, crop=64)
    batches = crops(photographs, recipe.batch, recipe.crop, np.random.default_rng(0))
    run = GenericRun.start(tiny_teacher, STUDENTS["tiny"], recipe)
    return distil_generic(run, batches, lpips, Budget(steps=60), lambda progress: None)


@pytest.fixture(scope="session")
def tiny_teacher_base(tiny_teacher: Teacher, tiny_student: Student, photographs: list[Pixels]) -> LoadedBase:
    """The tiny teacher's base."""
    latents = hyper_latents(tiny_teacher, photographs)
    hyper = quantise_hyperprior(tiny_teacher.hyperprior, latents, HYPER_CLAMP).to_onnx()
    return export_base("tiny", "sha256:" + "0" * 64, hyper, tiny_teacher.hyperprior.z_prior, tiny_student)


@pytest.fixture(scope="session")
def tiny_encoder(tiny_teacher: Teacher, tiny_teacher_base: LoadedBase) -> Encoder:
    """The tiny teacher with its base."""
    return Encoder(teacher=tiny_teacher, base=tiny_teacher_base)


@pytest.fixture(scope="session")
def shipped_encoder() -> Encoder:
    """The shipped teacher with its base."""
    return load_encoder()


@pytest.fixture(scope="session")
def shipped_latents(shipped_encoder: Encoder, photographs: list[Pixels]) -> list[Tensor]:
    """y [1, C, 26, 40] of both photographs by the shipped teacher."""
    with torch.inference_mode():
        return [shipped_encoder.teacher.g_a(to_tensor(each[:416])) for each in photographs]
