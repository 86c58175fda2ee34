import numpy as np
import pytest
import torch

from microdose.engine import Graph
from microdose_server.codec.encode import Encoder
from microdose_server.codec.graphs import student_to_onnx
from microdose_server.codec.micro import MicroBlock, is_micro, projected_micro_rn
from microdose_server.codec.presets import PRESETS, Preset
from microdose_server.codec.student import (
    STUDENTS,
    PaperPreset,
    PlainBlock,
    Student,
    build_student,
    kmac_per_pixel,
    student_from_onnx,
)
from microdose_server.codec.teacher import Generator
from microdose_server.training.data import Pixels
from tests.students import light


def make(name: str, teacher: str = "tiny") -> Student:
    """A student none of whose parameters is at its special starting value."""
    torch.manual_seed(0)
    student = build_student(STUDENTS[name], Generator(PRESETS[teacher]))
    with torch.no_grad():
        for parameter in student.parameters():
            parameter.add_(0.02 * torch.randn_like(parameter))
    return student.eval()


@pytest.mark.parametrize(("name", "most"), [("live", 2.0), ("standard", 6.0), ("fine", 13.0)])
def test_a_profile_keeps_its_promised_size(name: str, most: float) -> None:
    assert 0.8 * most < kmac_per_pixel(make(name, "medium")) <= most


def test_the_papers_form_keeps_the_teachers_head_and_tail() -> None:
    generator = Generator(Preset("narrow", 64, 2, 8, 8, 4, norm=True))
    student = build_student(STUDENTS["paper"], generator)
    kept = {name: value for name, value in generator.named_parameters() if not name.startswith("tower.")}
    own = {name: value for name, value in student.named_parameters() if not is_micro(name)}
    assert kept.keys() == own.keys()
    for name, value in own.items():
        assert torch.equal(value, kept[name])
        assert not value.requires_grad
    y_hat = torch.randn(1, 8, 2, 3)
    with torch.no_grad():
        assert torch.equal(student(y_hat), generator.tail(generator.head(y_hat)))


def test_the_papers_micro_rn_has_the_parameters_that_its_size_implies() -> None:
    micro = projected_micro_rn(960, 64, 3)
    assert sum(parameter.numel() for parameter in micro.parameters()) == pytest.approx(374_000, rel=0.02)


def test_kmac_per_pixel_counts_every_convolution_where_it_happens() -> None:
    head_and_tail = Generator(Preset("hific", 960, 0, 220, 320, 60, norm=True))
    student = build_student(PaperPreset("paper", 64, 3), head_and_tail)
    micro = sum(each.numel() for each in student.micro.parameters() if each.dim() == 4) / 256e3
    assert kmac_per_pixel(student) - micro == pytest.approx(81.05, abs=0.01)


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 7), (5, 2), (9, 13)])
@torch.no_grad()
def test_any_height_and_width(height: int, width: int) -> None:
    student = make("tiny")
    y_hat = torch.randn(1, 16, height, width)
    x_hat = student(y_hat)
    assert x_hat.shape == (1, 3, 16 * height, 16 * width)
    made = Graph(student_to_onnx(student), 1).run(y_hat=y_hat.numpy())["x_hat"]
    np.testing.assert_allclose(made, x_hat.numpy(), atol=1e-5 * float(x_hat.abs().max()))


def test_blocks_start_as_the_identity() -> None:
    torch.manual_seed(0)
    student = light()
    for block in (student.micro[0], student.eighth):
        assert isinstance(block, MicroBlock | PlainBlock)
        x = torch.randn(1, block.first.depthwise.in_channels if isinstance(block, MicroBlock) else 8, 3, 3)
        assert torch.equal(block(x), x)


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_comes_back_from_its_graph(name: str) -> None:
    student = make(name)
    again = student_from_onnx(student_to_onnx(student))
    assert type(again) is type(student)
    assert (again.width, again.hidden) == (student.width, student.hidden)
    state = again.state_dict()
    assert set(state) == set(student.state_dict())
    for parameter, value in student.state_dict().items():
        assert torch.equal(state[parameter], value), parameter


def test_a_dose_may_change_all_of_a_light_student_and_micro_rn_of_the_papers() -> None:
    for name in ("tiny", "paper"):
        student = make(name)
        allowed = {each for each, _ in student.named_parameters() if student.may_change(each)}
        micro = {f"micro.{each}" for each, _ in student.micro.named_parameters()}
        assert allowed == (micro if name == "paper" else set(dict(student.named_parameters())))
        assert not student.may_change("elsewhere.weight")


def test_the_shipped_student_paints_the_same_in_torch(
    shipped_encoder: Encoder, photographs: list[Pixels]
) -> None:
    y_hat = shipped_encoder.encode(photographs[1][:250, :161]).y_hat[None]
    student = student_from_onnx(shipped_encoder.base.student)
    assert kmac_per_pixel(student) == pytest.approx(shipped_encoder.base.document.kmac_per_pixel)
    with torch.no_grad():
        expected = student(torch.from_numpy(y_hat)).numpy()
    made = Graph(shipped_encoder.base.student, 1).run(y_hat=y_hat)["x_hat"]
    np.testing.assert_allclose(made, expected, atol=1e-5)
