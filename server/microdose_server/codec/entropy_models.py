"""The one door to CompressAI's entropy models.

CompressAI's package `__init__` imports its whole model zoo, and with it torchvision, torch_geometric and
pandas. A CPU-only torch cannot import PyPI's torchvision (`operator torchvision::nms does not exist`). Only
the entropy models and one op are needed here, so the package is entered by its folder: a bare module that has
CompressAI's real `__path__` stands in for the package, its `__init__` never runs, and its submodules load
as usual.
"""

import importlib.machinery
import importlib.util
import sys
import types


def _enter_without_init(name: str) -> None:
    if name in sys.modules:
        return
    spec = importlib.util.find_spec(name)
    if spec is None or spec.submodule_search_locations is None:
        raise ModuleNotFoundError(
            f"{name} is not installed; install the server with: pip install 'microdose[server]'"
        )
    package = types.ModuleType(name)
    package.__path__ = list(spec.submodule_search_locations)
    package.__spec__ = importlib.machinery.ModuleSpec(name, None, is_package=True)
    # CompressAI's entropy models ask the package for these two; neither is used for coding here.
    package.get_entropy_coder = lambda: "ans"  # type: ignore[attr-defined]
    package.available_entropy_coders = lambda: ["ans"]  # type: ignore[attr-defined]
    sys.modules[name] = package


_enter_without_init("compressai")

from compressai.entropy_models import EntropyBottleneck, GaussianConditional  # noqa: E402
from compressai.ops import LowerBound  # noqa: E402

__all__ = ["EntropyBottleneck", "GaussianConditional", "LowerBound"]
