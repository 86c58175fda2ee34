import platform
import subprocess
import sys

import pytest

FAULTS = """
import resource
import torch
from microdose_server.training.memory import keep_freed_memory

def faults():
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt

keep_freed_memory()
for _ in range(30):  # aligned blocks take a while to find their place
    torch.ones(1 << 22)
before = faults()
for _ in range(10):
    torch.ones(1 << 22)
print(faults() - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="other C libraries have their own ways")
def test_memory_that_was_freed_is_taken_again() -> None:
    found = subprocess.run([sys.executable, "-c", FAULTS], capture_output=True, text=True, check=True)
    assert int(found.stdout) < 4096  # the pages of one of these tensors
