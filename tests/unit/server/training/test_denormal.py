import subprocess
import sys

PRODUCTS = """
import torch
from microdose_server.training.denormal import flushed_denormals

torch.set_num_threads(2)
with flushed_denormals():
    small = torch.full((1 << 20,), 1e-30)
    print((small * 1e-10).count_nonzero().item(), (small * 1e-7).count_nonzero().item())
print((small[:1] * 1e-10).item() > 0.0)
"""


def test_what_is_too_small_to_be_quick_is_zero_in_every_thread() -> None:
    """In a process of its own: the threads that torch starts stay so."""
    run = subprocess.run(
        [sys.executable, "-W", "error", "-c", PRODUCTS], capture_output=True, text=True, check=True
    )
    assert run.stdout.split() == ["0", str(1 << 20), "True"]
