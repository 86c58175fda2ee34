import numpy as np
import pytest

from microdose.engine import Graph
from microdose_server.codec.graphs import generator_to_onnx, student_to_onnx
from microdose_server.codec.presets import PRESETS, Preset
from microdose_server.codec.student import STUDENTS
from microdose_server.codec.teacher import Generator
from microdose_server.evaluate.engines import graph_painter
from microdose_server.evaluate.parts import chain, cut
from tests.students import fresh
from tests.tiny_base import tiny_base

NORMED = Preset("normed", 16, 2, 16, 8, 4, norm=True)


def graph_of(name: str) -> bytes:
    if name in STUDENTS:
        return student_to_onnx(fresh(name))
    return generator_to_onnx(Generator(NORMED if name == "normed" else PRESETS["tiny"]))


@pytest.mark.parametrize("name", ["live", "paper", "teacher", "normed"])
def test_the_parts_together_paint_what_the_whole_does(name: str) -> None:
    graph = graph_of(name)
    y_hat = np.random.default_rng(0).normal(size=(16, 3, 4)).astype(np.float32)
    x_hat, times = chain(cut(graph), threads=1)(y_hat)
    np.testing.assert_allclose(x_hat, graph_painter(graph, threads=1)(y_hat), rtol=1e-4, atol=1e-5)
    assert min(times) > 0.0


def test_constants_are_in_the_part_that_uses_them() -> None:
    whole = graph_of("paper")
    sizes = [len(part) for part in cut(whole)]
    assert sum(sizes) == pytest.approx(len(whole), rel=0.02)
    micro = 4 * sum(each.numel() for each in fresh("paper").micro.parameters())
    assert sizes[1] == pytest.approx(micro, rel=0.05)


def test_a_graph_of_another_form_is_refused() -> None:
    base = tiny_base()
    assert Graph(base.hyper)
    with pytest.raises(ValueError, match="no decoder of a head, a middle and a tail"):
        cut(base.hyper)
