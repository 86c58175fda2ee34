import numpy as np
import pytest
import torch

from microdose.base import LoadedBase
from microdose_server.codec.graphs import generator_to_onnx
from microdose_server.codec.teacher import Teacher
from microdose_server.evaluate.engines import ENGINES, graph_painter, integer_hyper, torch_painter


@pytest.mark.parametrize("engine", ENGINES)
def test_the_same_integers_and_nearly_the_same_pixels(engine: str, tiny_teacher_base: LoadedBase) -> None:
    document = tiny_teacher_base.document
    rng, threads = np.random.default_rng(0), torch.get_num_threads()
    z = rng.integers(-5, 6, (document.hyper_channels, 2, 3)).astype(np.int32)
    y_hat = rng.normal(0, 2, (document.latent_channels, 5, 7)).astype(np.float32)
    reference, other = (ENGINES[name](tiny_teacher_base, 1) for name in ("onnxruntime", engine))
    for exact, found in zip(reference.hyper(z), other.hyper(z), strict=True):
        assert found.dtype == np.float32
        assert np.array_equal(found, exact)
    assert np.allclose(reference.paint(y_hat), other.paint(y_hat), atol=1e-4)
    torch.set_num_threads(threads)


def test_the_integer_network_is_that_of_the_graph(tiny_teacher_base: LoadedBase) -> None:
    network = integer_hyper(tiny_teacher_base.hyper)
    assert [layer.transposed for layer in network.scale.layers] == [True, True, False]
    assert network.to_onnx() == tiny_teacher_base.hyper


def test_a_generator_paints_alike_on_both(tiny_teacher: Teacher) -> None:
    channels = tiny_teacher.preset.latent_channels
    y_hat = np.random.default_rng(0).normal(0, 2, (channels, 3, 4)).astype(np.float32)
    on_graph = graph_painter(generator_to_onnx(tiny_teacher.g_s), 1)(y_hat)
    assert on_graph.shape == (3, 48, 64)
    assert np.allclose(on_graph, torch_painter(tiny_teacher.g_s)(y_hat), atol=1e-4)
