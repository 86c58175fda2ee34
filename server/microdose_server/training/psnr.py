"""Peak signal-to-noise ratio, as a run tells it."""

import math

LEAST_MSE = 1e-10
"""An MSE of zero would be infinitely many decibels, which no curve shows."""


def psnr_of(mse: float) -> float:
    """PSNR in dB of a mean squared error of pictures in 0..1: 100 at most."""
    return -10.0 * math.log10(max(mse, LEAST_MSE))
