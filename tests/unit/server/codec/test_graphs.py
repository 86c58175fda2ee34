import numpy as np
import onnx
import pytest
import torch
from torch import nn

from microdose.engine import Graph
from microdose_server.codec.graphs import generator_to_onnx, student_to_onnx
from microdose_server.codec.presets import PRESETS, Preset
from microdose_server.codec.student import STUDENTS, PaperPreset, build_student
from microdose_server.codec.teacher import Generator
from tests.students import LATENT_CHANNELS, fresh

NORMED = Preset("normed", 16, 2, 6, 8, 4, norm=True)


def shaken(module: nn.Module) -> nn.Module:
    """No parameter at a starting value that would hide a wrong wire."""
    torch.manual_seed(0)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return module.eval()


def assert_same(model: bytes, network: nn.Module, channels: int, tolerance: float) -> None:
    for height, width in ((1, 1), (3, 5)):
        y_hat = torch.randn(1, channels, height, width, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            expected = network(y_hat).numpy()
        made = Graph(model, 1).run(y_hat=y_hat.numpy())["x_hat"]
        np.testing.assert_allclose(made, expected, atol=tolerance * max(1.0, np.abs(expected).max()))


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_student(name: str) -> None:
    student = fresh(name)
    shaken(student)
    assert_same(student_to_onnx(student), student, LATENT_CHANNELS, 1e-5)


def test_the_papers_student_of_a_normalised_teacher() -> None:
    student = build_student(PaperPreset("paper", 8, 1), Generator(NORMED))
    shaken(student)
    assert_same(student_to_onnx(student), student, NORMED.latent_channels, 1e-4)


@pytest.mark.parametrize("preset", [NORMED, PRESETS["tiny"]], ids=["norm", "no-norm"])
def test_generator(preset: Preset) -> None:
    generator = Generator(preset)
    shaken(generator)
    assert_same(generator_to_onnx(generator), generator, preset.latent_channels, 1e-4)


@pytest.mark.parametrize("name", sorted(STUDENTS))
def test_constants_are_named_as_parameters(name: str) -> None:
    student = fresh(name)
    constants = {each.name for each in onnx.load_from_string(student_to_onnx(student)).graph.initializer}
    assert constants == {name for name, _ in student.named_parameters()}


def test_plain_operators_only() -> None:
    model = onnx.load_from_string(student_to_onnx(fresh()))
    kinds = {node.op_type for node in model.graph.node}
    assert kinds == {"Conv", "LeakyRelu", "Mul", "Add", "DepthToSpace", "Identity"}


def test_a_layer_without_a_graph_form_is_named() -> None:
    generator = Generator(PRESETS["tiny"])
    generator.tail.append(nn.Sigmoid())
    with pytest.raises(TypeError, match=r"tail\.9 is a Sigmoid"):
        generator_to_onnx(generator)
