from microdose_server.evaluate.zoo_models import ARCHITECTURES
from tests.fresh import told_by_a_fresh_interpreter

UNWANTED = ("torchvision", "torch_geometric", "pandas", "matplotlib")
FRESH = f"""
import sys
from microdose_server.evaluate.zoo_models import ARCHITECTURES
print([name for name in {UNWANTED!r} if name in sys.modules], *ARCHITECTURES)
"""


def test_a_fresh_interpreter_has_the_models_and_none_of_what_comes_with_them() -> None:
    assert told_by_a_fresh_interpreter(FRESH).split() == ["[]", *ARCHITECTURES]
