"""The one door to CompressAI's entropy models; to its trained models it is `evaluate/zoo_models.py`.

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


def enter_without_init(name: str, **given: object) -> None:
    """Make a package importable by its parts; `given` is what they want of the package itself.

    One that is imported already stays as it is. Raises ModuleNotFoundError if it is not installed.
    """
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
    vars(package).update(given)
    sys.modules[name] = package


# Its entropy models ask the package for these two. Only its own trained models are coded by its coder.
enter_without_init("compressai", get_entropy_coder=lambda: "ans", available_entropy_coders=lambda: ["ans"])

from compressai.entropy_models import EntropyBottleneck, GaussianConditional  # noqa: E402
from compressai.ops import LowerBound  # noqa: E402

__all__ = ["EntropyBottleneck", "GaussianConditional", "LowerBound"]
