"""What a distillation tells while it works."""

from typing import NamedTuple

from microdose_server.training.psnr import psnr_of


class Progress(NamedTuple):
    """`steps` is the plan (a guess if the budget is in time), `psnr` in dB to what the dose aims at."""

    step: int
    steps: int
    loss: float
    psnr: float

    @classmethod
    def of(cls, step: int, done: float, loss: float, mse: float) -> "Progress":
        """From the fraction that is done and an MSE in 0..1."""
        steps = max(step, round(step / done)) if done > 0.0 else step
        return cls(step, steps, loss, psnr_of(mse))
