import pytest
import torch

from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.precision import as_placed, placed, reconstruct


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


def test_bits_are_counted_in_single_precision_under_autocast(tiny_teacher: Teacher, x: torch.Tensor) -> None:
    expected = tiny_teacher(x)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        assert tiny_teacher.g_a(x).dtype == torch.bfloat16
        output = tiny_teacher(x)
    assert {value.dtype for value in output} == {torch.float32}
    assert output.rounded_bits.item() == pytest.approx(expected.rounded_bits.item(), rel=0.02)
    assert torch.mean((output.x_hat - expected.x_hat).square()).item() < 1e-4
