import numpy as np
import pytest
import torch
from torch import Tensor, nn

from microdose.engine import Graph
from microdose_server.codec.encode import Encoder
from microdose_server.codec.graphs import student_to_onnx
from microdose_server.codec.student import (
    STUDENTS,
    MicroBlock,
    PlainBlock,
    Student,
    is_dosable,
    kmac_per_pixel,
    student_from_onnx,
)
from microdose_server.training.data import Pixels


def make(name: str, latent_channels: int = 96) -> Student:
    """A student none of whose parameters is at its special starting value."""
    torch.manual_seed(0)
    student = Student(latent_channels, STUDENTS[name])
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return student.eval()


def test_standard_keeps_its_promised_size() -> None:
    student = make("standard")
    assert kmac_per_pixel(student) <= 6.0
    assert sum(parameter.numel() for parameter in student.parameters()) <= 1_600_000


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_kmac_per_pixel_agrees_with_counting(name: str) -> None:
    student, macs = make(name), 0

    def count(layer: nn.Module, _: object, out: Tensor) -> None:
        nonlocal macs
        assert isinstance(layer, nn.Conv2d)
        macs += layer.weight[0].numel() * out[0].numel()

    for module in student.modules():
        if isinstance(module, nn.Conv2d):
            module.register_forward_hook(count)
    with torch.no_grad():
        pixels = student(torch.zeros(1, 96, 4, 8))[0, 0].numel()
    assert kmac_per_pixel(student) == pytest.approx(macs / pixels / 1000)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 2), (9, 13)])
@torch.no_grad()
def test_any_height_and_width(height: int, width: int) -> None:
    student = make("tiny", 16)
    y_hat = torch.randn(1, 16, height, width)
    x_hat = student(y_hat)
    assert x_hat.shape == (1, 3, 16 * height, 16 * width)
    made = Graph(student_to_onnx(student), 1).run(y_hat=y_hat.numpy())["x_hat"]
    np.testing.assert_allclose(made, x_hat.numpy(), atol=1e-5 * float(x_hat.abs().max()))


def test_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    student = Student(16, STUDENTS["tiny"])
    for block in (student.micro[0], student.eighth):
        assert isinstance(block, MicroBlock | PlainBlock)
        x = torch.randn(1, block.first.depthwise.in_channels if isinstance(block, MicroBlock) else 8, 3, 3)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_comes_back_from_its_graph(name: str) -> None:
    student = make(name, 24)
    again = student_from_onnx(student_to_onnx(student))
    assert (again.preset.width, again.preset.blocks) == (student.preset.width, student.preset.blocks)
    state = again.state_dict()
    assert set(state) == set(student.state_dict())
    for parameter, value in student.state_dict().items():
        assert torch.equal(state[parameter], value), parameter


def test_a_dose_may_change_micro_rn_and_nothing_else() -> None:
    student = make("tiny", 16)
    dosable = {name for name, _ in student.named_parameters() if is_dosable(name)}
    assert dosable == {f"micro.{name}" for name, _ in student.micro.named_parameters()}
    assert len(dosable) == 12


def test_the_shipped_student_paints_the_same_in_torch(
    shipped_encoder: Encoder, photographs: list[Pixels]
) -> None:
    y_hat = shipped_encoder.encode(photographs[1][:250, :161]).y_hat[None]
    student = student_from_onnx(shipped_encoder.base.student)
    with torch.no_grad():
        expected = student(torch.from_numpy(y_hat)).numpy()
    made = Graph(shipped_encoder.base.student, 1).run(y_hat=y_hat)["x_hat"]
    np.testing.assert_allclose(made, expected, atol=1e-5)
