"""A decoder's graph cut where its parts meet, so that each can be timed by itself.

    y_hat --head--> --MicroRN, or the tower it replaces, with the long skip--> --tail--> x_hat

`codec.graphs` writes nodes in this order, so that a part ends where the next one's first constant is used.
Each part is a graph of its own: what an engine could fuse across the two seams, it cannot here.
"""

from collections.abc import Callable, Sequence
from time import perf_counter
from typing import NamedTuple

import onnx
from onnx import TensorProto, helper

from microdose.engine import Graph, single
from microdose.latents import Floats

MIDDLE, TAIL = ("micro.", "tower."), ("tail.", "up_eighth.")
"""What the constants of a part are called."""


class Parts(NamedTuple):
    """Three graphs, each from its one input to its one output."""

    head: bytes
    micro: bytes
    tail: bytes


class PartTimes(NamedTuple):
    """Milliseconds of each part."""

    head_ms: float
    micro_ms: float
    tail_ms: float


def cut(graph: bytes) -> Parts:
    """The parts of a student or a generator. Raises ValueError for a graph that is neither."""
    model = onnx.load_from_string(graph)
    nodes = list(model.graph.node)
    middle, tail = (_first_use(nodes, names) for names in (MIDDLE, TAIL))
    if not 0 < middle < tail:
        raise ValueError("the graph is no decoder of a head, a middle and a tail")
    return Parts(
        _part(model, nodes[:middle], "y_hat"),
        _part(model, nodes[middle:tail], nodes[middle - 1].output[0]),
        _part(model, nodes[tail:], nodes[tail - 1].output[0]),
    )


def chain(parts: Parts, threads: int) -> Callable[[Floats], tuple[Floats, PartTimes]]:
    """The parts one after another on onnxruntime: from y_hat [C, h, w] to x_hat and what each part took."""
    graphs = [Graph(part, threads) for part in parts]

    def paint(y_hat: Floats) -> tuple[Floats, PartTimes]:
        x, times = y_hat, []
        for graph in graphs:
            begin = perf_counter()
            x = single(graph.run(x=x[None]), "out")
            times.append(1e3 * (perf_counter() - begin))
        return x, PartTimes(*times)

    return paint


def _first_use(nodes: Sequence[onnx.NodeProto], names: tuple[str, ...]) -> int:
    uses = (n for n, node in enumerate(nodes) if any(each.startswith(names) for each in node.input))
    return next(uses, -1)


def _part(model: onnx.ModelProto, nodes: Sequence[onnx.NodeProto], entry: str) -> bytes:
    """The nodes as a graph of input x, which they call `entry`, and output out."""
    used = {name for node in nodes for name in node.input}
    wires = [helper.make_node("Identity", ["x"], [entry]), *nodes]
    wires.append(helper.make_node("Identity", [nodes[-1].output[0]], ["out"]))
    part = helper.make_graph(
        wires,
        "part",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, None, None, None])],
        [helper.make_tensor_value_info("out", TensorProto.FLOAT, [1, None, None, None])],
        [constant for constant in model.graph.initializer if constant.name in used],
    )
    found = helper.make_model(part, opset_imports=model.opset_import, ir_version=model.ir_version)
    return bytes(found.SerializeToString())
