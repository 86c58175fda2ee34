"""A base's two networks on engines other than the client's: to see whether they agree, and how fast they are.

The hyper-synthesis must give the same integers on all of them, the student's picture may differ by 1/255.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import NamedTuple

import numpy as np
import onnx
import onnxruntime as ort
import torch
from numpy.typing import NDArray
from onnx import numpy_helper
from torch import nn

from microdose.base import LoadedBase
from microdose.engine import Graph, hyper_from, single
from microdose.latents import Floats, Hyper
from microdose_server.codec.integer import IntegerHyper, IntegerLayer, IntegerSynthesis
from microdose_server.codec.student import student_from_onnx

Paint = Callable[[Floats], Floats]
"""y_hat float32 [C, h, w] -> x_hat float32 [3, 16h, 16w], nominally 0..1."""


class Networks(NamedTuple):
    """What turns a segment's integers into a picture."""

    hyper: Hyper
    paint: Paint


def on_onnxruntime(base: LoadedBase, threads: int) -> Networks:
    """As the client runs them."""
    return Networks(hyper_from(Graph(base.hyper, threads)), graph_painter(base.student, threads))


def on_plain_onnxruntime(base: LoadedBase, threads: int) -> Networks:
    """Without graph optimisations: other memory layouts, other kernels, another order of sums."""
    hyper_graph, student = (_plain_session(graph, threads) for graph in (base.hyper, base.student))

    def hyper(z: NDArray[np.int32]) -> tuple[Floats, Floats]:
        scale, mean = hyper_graph.run(["scale", "mean"], {"z_hat": z[None].astype(np.float32)})
        return scale[0], mean[0]

    def paint(y_hat: Floats) -> Floats:
        x_hat: Floats = student.run(["x_hat"], {"y_hat": y_hat[None]})[0][0]
        return x_hat

    return Networks(hyper, paint)


def on_torch(base: LoadedBase, threads: int, dtype: torch.dtype) -> Networks:
    """Rebuilt in torch from the constants of the graphs. The thread count is set for the whole process."""
    torch.set_num_threads(threads)
    network = integer_hyper(base.hyper)

    def hyper(z: NDArray[np.int32]) -> tuple[Floats, Floats]:
        z_hat = torch.from_numpy(z[None]).to(dtype)
        return network.scale(z_hat)[0].float().numpy(), network.mean(z_hat)[0].float().numpy()

    return Networks(hyper, torch_painter(student_from_onnx(base.student), dtype))


ENGINES: Mapping[str, Callable[[LoadedBase, int], Networks]] = {
    "onnxruntime": on_onnxruntime,
    "onnxruntime-plain": on_plain_onnxruntime,
    "torch-float32": partial(on_torch, dtype=torch.float32),
    "torch-float64": partial(on_torch, dtype=torch.float64),
}


def graph_painter(graph: bytes, threads: int) -> Paint:
    """A generator or student, given as ONNX, on onnxruntime."""
    loaded = Graph(graph, threads)
    return lambda y_hat: single(loaded.run(y_hat=y_hat[None]), "x_hat")


def torch_painter(network: nn.Module, dtype: torch.dtype = torch.float32, device: str = "cpu") -> Paint:
    """A generator or student on torch."""
    network = network.to(device, dtype).eval()

    @torch.inference_mode()
    def paint(y_hat: Floats) -> Floats:
        x_hat: Floats = network(torch.from_numpy(y_hat[None]).to(device, dtype))[0].float().cpu().numpy()
        return x_hat

    return paint


def integer_hyper(graph: bytes) -> IntegerHyper:
    """The integer network inside a base's hyper graph, which names its constants scale.0.weight and so on."""
    initializers = onnx.load_from_string(graph).graph.initializer
    constants = {each.name: numpy_helper.to_array(each) for each in initializers}

    def half(name: str) -> IntegerSynthesis:
        count = sum(each.startswith(f"{name}.") and each.endswith(".weight") for each in constants)
        return IntegerSynthesis(tuple(layer(f"{name}.{n}", transposed=n < count - 1) for n in range(count)))

    def layer(name: str, transposed: bool) -> IntegerLayer:
        weight, bias, divisor = (constants[f"{name}.{part}"] for part in ("weight", "bias", "divisor"))
        exponent = -np.log2(divisor.ravel().astype(np.float64))
        return IntegerLayer(weight.astype(np.float32), bias.copy(), exponent.astype(np.int64), transposed)

    return IntegerHyper(half("scale"), half("mean"))


def _plain_session(graph: bytes, threads: int) -> ort.InferenceSession:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = threads
    return ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
