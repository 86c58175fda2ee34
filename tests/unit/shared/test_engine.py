from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper
from onnx.external_data_helper import set_external_data

from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream
from tests.tiny_base import HYPER_CHANNELS, LATENT_CHANNELS, tiny_base

BASE = tiny_base()


@pytest.mark.parametrize("threads", [0, 1, 2])
def test_a_graph_runs_with_any_number_of_threads(threads: int) -> None:
    graph = Graph(BASE.student, threads)
    x_hat = graph.run(y_hat=np.zeros((1, LATENT_CHANNELS, 2, 3), np.float32))["x_hat"]
    assert x_hat.shape == (1, 3, 32, 48)
    assert graph.outputs == ("x_hat",)


def test_hyper_gives_integers_of_the_latents_shape() -> None:
    z = np.random.default_rng(0).integers(-15, 16, (HYPER_CHANNELS, 2, 3)).astype(np.int32)
    scale, mean = hyper_from(Graph(BASE.hyper))(z)
    assert scale.shape == mean.shape == (LATENT_CHANNELS, 8, 12)
    assert np.array_equal(scale, np.rint(scale))
    assert np.array_equal(mean, np.rint(mean))


@pytest.mark.parametrize("data", [b"", b"not a graph", bytes(1000), BASE.student[:-100], BASE.student[:50]])
def test_bytes_that_are_no_graph_are_refused(data: bytes) -> None:
    with pytest.raises(CorruptStream):
        Graph(data)


def test_inputs_that_do_not_fit_are_refused() -> None:
    graph = Graph(BASE.student, 1)
    for name, shape in [("other", (1, 8, 2, 2)), ("y_hat", (1, 9, 2, 2)), ("y_hat", (8, 2, 2))]:
        with pytest.raises(CorruptStream, match="cannot be run"):
            graph.run(**{name: np.zeros(shape, np.float32)})


def test_a_graph_without_the_named_outputs_is_no_hyper_graph() -> None:
    with pytest.raises(CorruptStream):
        hyper_from(Graph(BASE.student))(np.zeros((HYPER_CHANNELS, 1, 1), np.int32))


def test_a_graph_cannot_read_files_of_this_machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    Path("secret").write_bytes(bytes(16))
    weight = numpy_helper.from_array(np.ones((2, 2), np.float32), "w")
    set_external_data(weight, "secret", offset=0, length=16)
    weight.ClearField("raw_data")
    value = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, [2, 2]) for name in ("a", "b")]
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "w"], ["b"])], "g", value[:1], value[1:], [weight]
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    with pytest.raises(CorruptStream, match="xternal"):
        Graph(model.SerializeToString())
