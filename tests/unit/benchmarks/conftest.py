"""A teacher that fits in a test, and pictures for it."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from microdose_server.codec.export import HYPER_CLAMP, export_base
from microdose_server.codec.folder import save_base
from microdose_server.codec.integer import quantise_hyperprior
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import load_teacher, save_teacher
from microdose_server.codec.student import STUDENTS, build_student
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.cli import hyper_latents
from tests.photos import encode, photo

WIDTH, HEIGHT, PICTURES = 200, 168, 2


@pytest.fixture(scope="session")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two photographs, just large enough for MS-SSIM."""
    folder = tmp_path_factory.mktemp("pictures")
    for n in range(PICTURES):
        (folder / f"{n}.png").write_bytes(encode(photo(5 * n, WIDTH, HEIGHT)))
    (folder / "notes.txt").write_text("not a picture")
    return folder


@pytest.fixture(scope="session")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of an untrained teacher with its base."""
    folder = tmp_path_factory.mktemp("weights")
    torch.manual_seed(0)
    digest = save_teacher("tiny", Teacher(PRESETS["tiny"]).state_dict(), folder)
    teacher = load_teacher(folder=folder)
    student = build_student(STUDENTS["tiny"], teacher.g_s)
    latents = hyper_latents(teacher, [photo(0, 256, 256)])
    hyper = quantise_hyperprior(teacher.hyperprior, latents, HYPER_CLAMP).to_onnx()
    save_base(export_base("tiny", digest, hyper, teacher.hyperprior.z_prior, student), folder, "standard")
    return folder


@pytest.fixture(autouse=True)
def _thread_count() -> Iterator[None]:
    """Benchmarks set torch's thread count for their process; give the others theirs back."""
    before = torch.get_num_threads()
    yield
    torch.set_num_threads(before)
