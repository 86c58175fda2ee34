import numpy as np
import onnx
import pytest
import torch
from numpy.typing import NDArray
from torch.nn import functional as F

from microdose.engine import Graph
from microdose_server.codec.onnx_graph import GraphWriter

X = np.random.default_rng(0).normal(size=(1, 4, 5, 6)).astype(np.float32)


def run(writer: GraphWriter, out: str, channels: int) -> NDArray[np.float32]:
    model = writer.finish([("x", 4)], [("out", out, channels)])
    return Graph(model, 1).run(x=X)["out"]


def test_convolution() -> None:
    rng = np.random.default_rng(1)
    weight, bias = rng.normal(size=(8, 2, 3, 3)).astype(np.float32), rng.normal(size=8).astype(np.float32)
    writer = GraphWriter("g")
    out = writer.conv("x", writer.constant("w", weight), writer.constant("b", bias), 3, groups=2)
    expected = F.conv2d(torch.tensor(X), torch.tensor(weight), torch.tensor(bias), padding=1, groups=2)
    np.testing.assert_allclose(run(writer, out, 8), expected.numpy(), atol=1e-5)


def test_transposed_convolution_doubles_both_sides() -> None:
    rng = np.random.default_rng(2)
    for kernel in (3, 5):
        weight = rng.normal(size=(4, 3, kernel, kernel)).astype(np.float32)
        bias = rng.normal(size=3).astype(np.float32)
        writer = GraphWriter("g")
        out = writer.conv_transpose("x", writer.constant("w", weight), writer.constant("b", bias), kernel)
        arguments = {"stride": 2, "padding": kernel // 2, "output_padding": 1}
        expected = F.conv_transpose2d(torch.tensor(X), torch.tensor(weight), torch.tensor(bias), **arguments)
        assert expected.shape == (1, 3, 10, 12)
        np.testing.assert_allclose(run(writer, out, 3), expected.numpy(), atol=1e-5)


def test_pixel_shuffle_activation_and_mean() -> None:
    writer = GraphWriter("g")
    shuffled = writer.depth_to_space("x", 2)
    np.testing.assert_array_equal(run(writer, shuffled, 1), F.pixel_shuffle(torch.tensor(X), 2).numpy())
    writer = GraphWriter("g")
    np.testing.assert_allclose(run(writer, writer.leaky_relu("x", 0.1), 4), np.maximum(X, 0.1 * X), rtol=1e-6)
    writer = GraphWriter("g")
    out = writer.mean_over_channels("x")
    np.testing.assert_allclose(run(writer, out, 1), X.mean(1, keepdims=True), atol=1e-6)


def test_small_integers_take_one_byte_each() -> None:
    weight = np.random.default_rng(3).integers(-127, 128, (4, 4, 3, 3)).astype(np.float32)
    writer = GraphWriter("g")
    out = writer.conv("x", writer.small_integers("w", weight), None, 3)
    model = onnx.load_from_string(writer.finish([("x", 4)], [("out", out, 4)]))
    (constant,) = model.graph.initializer
    assert constant.data_type == onnx.TensorProto.INT8
    assert len(constant.raw_data) == weight.size


@pytest.mark.parametrize("value", [0.5, 128.0, -128.0, 1e6, np.nan])
def test_refuses_what_is_no_small_integer(value: float) -> None:
    with pytest.raises(ValueError, match="constant w"):
        GraphWriter("g").small_integers("w", np.full((1, 1, 1, 1), value, np.float32))


def test_the_same_weights_give_the_same_bytes() -> None:
    def model() -> bytes:
        writer = GraphWriter("g")
        out = writer.conv("x", writer.constant("w", np.ones((1, 4, 1, 1), np.float32)), None, 1)
        return writer.finish([("x", 4)], [("out", out, 1)])

    assert model() == model()
    parsed = onnx.load_from_string(model())
    assert (parsed.ir_version, parsed.opset_import[0].version) == (8, 17)
    assert parsed.producer_name == "microdose"
