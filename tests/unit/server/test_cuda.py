"""What only a GPU can show: steps in bfloat16, noise of its own generator, latents by its arithmetic."""

from copy import deepcopy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

from microdose.base import LoadedBase
from microdose.decoder import Decoder
from microdose.engine import Graph, hyper_from
from microdose.latents import decode_picture
from microdose.resources import DoseChoice
from microdose.segment import parse_segment
from microdose_server.codec.encode import Encoder
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.student import STUDENTS
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.generic import GenericRun, distil_generic, generic_recipe
from microdose_server.distil.progress import Progress
from microdose_server.distil.specialise import Budget as Steps
from microdose_server.distil.specialise import Dosed, specialise
from microdose_server.distil.tiles import Target
from microdose_server.evaluate.metrics import psnr
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import load_state
from microdose_server.training.data import Pixels, crops
from microdose_server.training.loop import Budget, Run, StepReport, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.muon import orthogonalised
from microdose_server.training.precision import placed
from microdose_server.training.recipe import Recipe, StageTwo
from tests.kept import Kept
from tests.precisions import assert_large_convolutions_answer_in_bfloat16

DEVICE = "cuda"

pytestmark = pytest.mark.skipif(
    not torch.cuda.is_available(),
    reason="NO GPU HERE: not tested are training steps in bfloat16 in both stages, finite gradients there, "
    "what of a step and of Muon is in bfloat16, resumption with the GPU's noise, students and doses, and "
    "that a CPU decodes what a GPU encodes",
)


def fresh(stage: int) -> Run:
    """A run of a teacher with norms, every term of its loss at work."""
    torch.manual_seed(7)
    teacher = Teacher(replace(PRESETS["tiny"], norm=True))
    if stage == 1:
        return Run(teacher, Recipe(batch=2, crop=64).continued(), DEVICE)
    return AdversarialRun(teacher, StageTwo(batch=2, crop=64), DEVICE)


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_moves_every_part_and_a_resumed_run_goes_on(
    stage: int, photographs: list[Pixels], tmp_path: Path
) -> None:
    lpips, path, reports = placed(LPIPS(), DEVICE), tmp_path / "run.pt", list[StepReport]()
    run = fresh(stage)
    before = {name: value.detach().clone() for name, value in run.teacher.named_parameters()}
    train(run, photographs, lpips, Budget(steps=2), path, reports.append)
    for name, value in run.teacher.named_parameters():
        assert value.dtype == torch.float32, name
        assert value.grad is None or bool(value.grad.isfinite().all()), name
    moved = {name for name, value in run.teacher.named_parameters() if not torch.equal(value, before[name])}
    assert {name.partition(".")[0] for name in moved} == {"g_a", "hyperprior", "g_s"}
    train(run, photographs, lpips, Budget(steps=3), tmp_path / "straight.pt", reports.append)
    straight, resumed = run.state(), fresh(stage)
    resumed.restore(load_state(path, "tiny", stage))
    train(resumed, photographs, lpips, Budget(steps=3), path, reports.append)
    assert [report.step for report in reports] == [1, 2, 3, 3]
    assert reports[3].loss == pytest.approx(reports[2].loss, rel=1e-2)
    assert torch.equal(*(state.noise_rng[0] for state in (straight, resumed.state())))


@pytest.mark.parametrize("stage", [1, 2])
def test_a_step_computes_large_convolutions_alone_in_bfloat16(stage: int, photographs: list[Pixels]) -> None:
    lpips, run = placed(LPIPS(), DEVICE), fresh(stage)
    x = next(crops(photographs, 2, 64, np.random.default_rng(0)))
    pictures: list[Tensor] = []
    run.teacher.g_s.register_forward_hook(lambda *call: pictures.append(call[-1]))
    assert_large_convolutions_answer_in_bfloat16(run.teacher, lambda: run.advance(x, lpips, 0.5))
    assert [picture.dtype for picture in pictures] == [torch.float32]


def test_muon_balances_matrices_in_bfloat16() -> None:
    matrix = torch.randn(16, 40, generator=torch.Generator().manual_seed(0))
    (made,), (expected,) = (orthogonalised([each]) for each in (matrix.to(DEVICE), matrix))
    assert made.dtype == torch.float32
    assert torch.equal(made, made.bfloat16().float())
    assert (made.cpu() - expected).norm() < 0.03 * expected.norm()


def test_a_student_is_distilled(tiny_teacher: Teacher, photographs: list[Pixels]) -> None:
    teacher = placed(deepcopy(tiny_teacher), DEVICE)
    run = GenericRun.start(teacher, STUDENTS["tiny"], replace(generic_recipe(), batch=2, crop=64))
    told = list[Progress]()
    batches = crops(photographs, 2, 64, np.random.default_rng(0))
    student = distil_generic(run, batches, placed(LPIPS(), DEVICE), Budget(steps=4), told.append)
    assert [progress.step for progress in told] == [1, 2, 3, 4]
    assert all(bool(value.isfinite().all()) for value in student.parameters())


def test_a_cpu_paints_by_a_dose_that_a_gpu_has_learnt(
    tiny_encoder: Encoder, photographs: list[Pixels]
) -> None:
    encoded, base = tiny_encoder.encode(photographs[0]), tiny_encoder.base
    targets, keeper = [Target(encoded.y_hat, encoded.x_hat, encoded.tower)] * 20, Kept()

    def dose(keeper: Kept | None = None) -> Dosed:
        return specialise(
            base,
            targets,
            choice=DoseChoice.FULL,
            lmbda=1e-6,
            budget=Steps(steps=60),
            epoch=0,
            report=lambda progress: None,
            device=DEVICE,
            keeper=keeper,
        )

    made, again = dose(keeper), dose(keeper)
    assert again == made  # taken up where it had ended
    assert made.dose is not None
    assert made.loss_after < made.loss_before
    shown = [Decoder(base, *doses, threads=1).decode(encoded.segment).pixels for doses in ((), (made.dose,))]
    before, after = (psnr(pixels, encoded.x_hat) for pixels in shown)
    assert after > before


def test_a_cpu_decodes_what_a_gpu_encodes(
    tiny_teacher: Teacher, tiny_teacher_base: LoadedBase, photographs: list[Pixels]
) -> None:
    encoder = Encoder(placed(deepcopy(tiny_teacher), DEVICE), tiny_teacher_base, DEVICE)
    encoded = encoder.encode(photographs[0])
    hyper = hyper_from(Graph(tiny_teacher_base.hyper))
    y_hat = decode_picture(parse_segment(encoded.segment), tiny_teacher_base, hyper)
    assert np.array_equal(y_hat.view(np.uint32), encoded.y_hat.view(np.uint32))
