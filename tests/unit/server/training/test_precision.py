from dataclasses import replace

import pytest
import torch

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.precision import as_placed, placed, reconstruct
from tests.precisions import assert_large_convolutions_answer_in_bfloat16


@pytest.fixture
def x(photographs: list[Pixels]) -> torch.Tensor:
    return torch.from_numpy(photographs[0][:64, :64].copy()).permute(2, 0, 1)[None].float() / 255.0


def test_a_cpu_computes_in_single_precision(tiny_teacher: Teacher, x: torch.Tensor) -> None:
    expected = tiny_teacher(x)
    assert placed(tiny_teacher, "cpu") is tiny_teacher
    output = reconstruct(tiny_teacher, as_placed(x, "cpu"))
    assert {value.dtype for value in output} == {torch.float32}
    assert output.rounded_bits.item() == pytest.approx(expected.rounded_bits.item(), rel=1e-3)
    torch.testing.assert_close(output.x_hat, expected.x_hat, rtol=1e-3, atol=1e-4)


def test_weights_and_batches_lie_with_their_channels_last() -> None:
    teacher, batch = Teacher(PRESETS["tiny"]), torch.rand(2, 3, 64, 64)
    kernels = [each for each in placed(teacher, "cpu").parameters() if each.dim() == 4]
    assert kernels
    assert not batch.is_contiguous(memory_format=torch.channels_last)
    for each in (*kernels, as_placed(batch, "cpu")):
        assert each.is_contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize("norm", [False, True])
def test_latents_pictures_and_bits_are_in_single_precision_under_autocast(
    x: torch.Tensor, norm: bool
) -> None:
    torch.manual_seed(0)
    teacher = Teacher(replace(PRESETS["tiny"], norm=norm)).requires_grad_(False)
    y, expected = teacher.g_a(x), teacher(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert_large_convolutions_answer_in_bfloat16(teacher, lambda: teacher(x))
        latents, picture, output = teacher.g_a(x), teacher.g_s(expected.y_hat), teacher(x)
    assert {value.dtype for value in (latents, picture, *output)} == {torch.float32}
    for made, exact in ((latents, y), (picture, expected.x_hat)):
        assert not torch.equal(made, made.bfloat16().float())
        assert torch.mean((made - exact).square()).item() < 1e-3 * exact.var().item()
    assert output.rounded_bits.item() == pytest.approx(expected.rounded_bits.item(), rel=0.02)


def test_a_teacher_with_norms_learns_under_autocast(x: torch.Tensor) -> None:
    torch.manual_seed(0)
    teacher = Teacher(replace(PRESETS["tiny"], norm=True))
    with torch.autocast("cpu", dtype=torch.bfloat16):
        output = teacher(x)
    (torch.mean((output.x_hat - x).square()) + output.bits / x.numel()).backward()
    gradients = [each.grad for each in teacher.parameters() if each.requires_grad]
    assert all(gradient is not None and bool(gradient.isfinite().all()) for gradient in gradients)
