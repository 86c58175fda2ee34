import subprocess
import sys

from microdose_server.evaluate.zoo_models import ARCHITECTURES

UNWANTED = ("torchvision", "torch_geometric", "pandas", "matplotlib")
FRESH = f"""
import sys
from microdose_server.evaluate.zoo_models import ARCHITECTURES
print([name for name in {UNWANTED!r} if name in sys.modules], *ARCHITECTURES)
"""


def test_a_fresh_interpreter_has_the_models_and_none_of_what_comes_with_them() -> None:
    done = subprocess.run(
        [sys.executable, "-c", FRESH],
        env={"PYTHONPATH": ":".join(path for path in sys.path if path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.stdout.split(), done.returncode) == (["[]", *ARCHITECTURES], 0), done.stderr
