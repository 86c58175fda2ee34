"""Writing ONNX graphs node by node.

The graphs of a base are part of the format: their names, constants and bytes must depend on the weights
alone, not on the version of a tracing exporter. They also use only operators that every runtime has.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

OPSET = 17
IR_VERSION = 8
Array = NDArray[np.float32]


class GraphWriter:
    """Collects nodes and constants. Every method that adds a node returns the name of its output."""

    def __init__(self, name: str) -> None:
        self._name = name
        self._nodes: list[onnx.NodeProto] = []
        self._constants: dict[str, Array | NDArray[np.int8]] = {}
        self._count = 0

    def constant(self, name: str, value: Array) -> str:
        """A named float32 constant."""
        self._constants[name] = np.ascontiguousarray(value, dtype=np.float32)
        return name

    def small_integers(self, name: str, value: Array) -> str:
        """Integers within +-127: stored in one byte each, widened once when the graph is loaded."""
        if not ((np.abs(value) <= 127) & (value == np.rint(value))).all():
            raise ValueError(f"constant {name} does not hold integers within +-127")
        self._constants[name] = np.ascontiguousarray(value.astype(np.int8))
        return self._node("Cast", [name], to=TensorProto.FLOAT)

    def conv(self, x: str, weight: str, bias: str | None, kernel: int, groups: int = 1) -> str:
        """Same-padded convolution of stride 1; `weight` and `bias` are constants."""
        inputs = [x, weight] if bias is None else [x, weight, bias]
        return self._node("Conv", inputs, kernel_shape=[kernel] * 2, pads=[kernel // 2] * 4, group=groups)

    def conv_transpose(self, x: str, weight: str, bias: str, kernel: int) -> str:
        """Transposed convolution of stride 2 that exactly doubles both sides."""
        shape = {"kernel_shape": [kernel] * 2, "pads": [kernel // 2] * 4}
        return self._node("ConvTranspose", [x, weight, bias], strides=[2, 2], output_padding=[1, 1], **shape)

    def depth_to_space(self, x: str, block: int) -> str:
        """Pixel shuffle, channels ordered as torch.nn.PixelShuffle has them."""
        return self._node("DepthToSpace", [x], blocksize=block, mode="CRD")

    def leaky_relu(self, x: str, slope: float) -> str:
        """max(x, slope * x)."""
        return self._node("LeakyRelu", [x], alpha=slope)

    def mean_over_channels(self, x: str) -> str:
        """[N, C, h, w] -> [N, 1, h, w]."""
        return self._node("ReduceMean", [x], axes=[1], keepdims=1)

    def op(self, kind: str, *inputs: str) -> str:
        """Any operator without attributes."""
        return self._node(kind, list(inputs))

    def finish(self, inputs: Sequence[tuple[str, int]], outputs: Sequence[tuple[str, str, int]]) -> bytes:
        """The serialized model. `inputs`: (name, channels); `outputs`: (name, its source, channels)."""
        for name, source, _ in outputs:
            self._nodes.append(helper.make_node("Identity", [source], [name]))
        graph = helper.make_graph(
            self._nodes,
            self._name,
            [_image(name, channels, "h", "w") for name, channels in inputs],
            [_image(name, channels, "H", "W") for name, _, channels in outputs],
            [numpy_helper.from_array(value, name) for name, value in self._constants.items()],
        )
        model = helper.make_model(
            graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION
        )
        model.producer_name = "microdose"
        onnx.checker.check_model(model)
        return bytes(model.SerializeToString(deterministic=True))

    def _node(self, kind: str, inputs: list[str], **attributes: Any) -> str:
        self._count += 1
        output = f"t{self._count}"
        self._nodes.append(helper.make_node(kind, inputs, [output], **attributes))
        return output


def _image(name: str, channels: int, rows: str, columns: str) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, [1, channels, rows, columns])
