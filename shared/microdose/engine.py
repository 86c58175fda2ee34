"""Running graphs: the one importer of onnxruntime."""

import os

import numpy as np
import onnxruntime as ort
from numpy.typing import NDArray

from microdose.errors import CorruptStream
from microdose.latents import Floats, Hyper

_SILENT = 4


class Graph:
    """An ONNX graph on the CPU. `threads` workers inside an operator, 0 for one per core; safe to share."""

    def __init__(self, onnx: bytes, threads: int = 0) -> None:
        options = ort.SessionOptions()
        options.log_severity_level = _SILENT  # every failure is an exception anyway
        options.execution_mode = ort.ExecutionMode.ORT_SEQUENTIAL
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        # a graph is data from the network: it must not pull in files of this machine as its weights
        options.add_session_config_entry("session.model_external_initializers_file_folder_path", os.devnull)
        cpu = ["CPUExecutionProvider"]
        try:  # the fallback would print to the user's terminal and try the same again
            self._session = ort.InferenceSession(onnx, options, providers=cpu, enable_fallback=0)
        except Exception as error:  # onnxruntime raises a dozen unrelated classes
            raise CorruptStream(f"not a graph that onnxruntime accepts: {str(error)[:300]}") from None
        self.outputs = tuple(each.name for each in self._session.get_outputs())

    def run(self, **inputs: NDArray[np.float32]) -> dict[str, NDArray[np.float32]]:
        """All outputs by name. Raises CorruptStream where the graph does not take such inputs or fails."""
        try:
            return dict(zip(self.outputs, self._session.run(None, inputs), strict=True))
        except Exception as error:
            raise CorruptStream(f"the graph cannot be run: {str(error)[:300]}") from None


def hyper_from(graph: Graph) -> Hyper:
    """The hyper-synthesis that a graph computes (input z_hat, outputs scale and mean, batch of one)."""

    def hyper(z: NDArray[np.int32]) -> tuple[Floats, Floats]:
        out = graph.run(z_hat=z[None].astype(np.float32))
        return single(out, "scale"), single(out, "mean")

    return hyper


def single(outputs: dict[str, NDArray[np.float32]], name: str) -> Floats:
    """The one float32[C,H,W] result of a batch of one, or CorruptStream where there is none."""
    value = outputs.get(name)
    if value is None or value.dtype != np.float32 or value.ndim != 4 or len(value) != 1:
        raise CorruptStream(f"the graph has no float32 output {name} with a batch of one")
    return np.asarray(value[0])
