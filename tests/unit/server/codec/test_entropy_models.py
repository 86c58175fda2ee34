import importlib.util

import pytest
import torch

from microdose_server.codec.entropy_models import EntropyBottleneck, GaussianConditional, enter_without_init
from tests.fresh import told_by_a_fresh_interpreter

UNWANTED = ("torchvision", "pandas", "torch_geometric", "matplotlib", "compressai.zoo", "compressai.models")
FRESH = f"""
import sys
from importlib.abc import MetaPathFinder

class Refuse(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] == "torchvision":
            raise RuntimeError("operator torchvision::nms does not exist")

sys.meta_path.insert(0, Refuse())
from microdose_server.codec.teacher import Teacher
from microdose_server.codec.presets import PRESETS
Teacher(PRESETS["tiny"])
print([name for name in {UNWANTED!r} if name in sys.modules])
"""


def test_a_fresh_interpreter_needs_no_torchvision_and_loads_no_model_zoo() -> None:
    assert importlib.util.find_spec("compressai") is not None
    assert told_by_a_fresh_interpreter(FRESH) == "[]"


def test_the_entropy_models_work() -> None:
    torch.manual_seed(0)
    x = torch.randn(1, 4, 3, 3)
    _, likelihood = EntropyBottleneck(4)(x)
    assert 0.0 < likelihood.min().item() <= likelihood.max().item() <= 1.0
    rounded, _ = GaussianConditional([0.5, 1.0])(x, torch.ones_like(x), training=False)
    assert torch.equal(rounded, torch.round(x))


def test_a_missing_package_says_what_to_install() -> None:
    with pytest.raises(ModuleNotFoundError, match=r"pip install 'microdose\[server\]'"):
        enter_without_init("no_such_package_at_all")
