"""Numbers of less than 2^-126, which most processors take a hundred times as long to multiply."""

from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import torch


@contextmanager
def flushed_denormals() -> Iterator[None]:
    """Take them for zero, in this thread and in all that it starts, where the processor can.

    Threads that torch has at work already stay as they were: begin with this.

    The momentum of a weight that no gradient moves fades until it is so small, and Muon multiplies it by
    itself: after a thousand steps most of a step went there.
    """
    # What numpy knows of its types it finds out once, and warns if it finds no such numbers then.
    np.finfo(np.float32)
    np.finfo(np.float64)
    torch.set_flush_denormal(True)
    try:
        yield
    finally:
        torch.set_flush_denormal(False)
