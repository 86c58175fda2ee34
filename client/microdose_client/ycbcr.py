"""Pixels as luma and chroma by BT.601, in both directions; what video calls Y'CbCr and files call YUV.

limited   Y' 16..235, Cb and Cr 16..240: what a reader assumes who is told nothing
full      all of them 0..255
"""

import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

_MATRIX = np.array(
    [[0.299, 0.587, 0.114], [-0.299 / 1.772, -0.587 / 1.772, 0.5], [0.5, -0.587 / 1.402, -0.114 / 1.402]],
    np.float32,
)
"""From R'G'B' to Y' and the two colour differences, all of span 1."""
_SPANS = {False: (219, 224, 224), True: (255, 255, 255)}
_ZEROS = {False: (16, 128, 128), True: (0, 128, 128)}


def to_yuv(pixels: Pixels) -> Pixels:
    """sRGB uint8[H,W,3] to Y'CbCr of limited range, uint8[3,H,W]."""
    forward = _MATRIX * np.array(_SPANS[False], np.float32)[:, None] / np.float32(255)
    yuv = pixels.astype(np.float32) @ forward.T + np.array(_ZEROS[False], np.float32)
    return np.ascontiguousarray(np.rint(yuv).astype(np.uint8).transpose(2, 0, 1))


def to_rgb(yuv: NDArray[np.float32], full: bool = False) -> Pixels:
    """Y'CbCr float32[3,H,W] of full or limited range to sRGB uint8[H,W,3], clipped."""
    inverse = np.linalg.inv(_MATRIX) * np.float32(255) / np.array(_SPANS[full], np.float32)
    centred = yuv.transpose(1, 2, 0) - np.array(_ZEROS[full], np.float32)
    return np.clip(np.rint(centred @ inverse.T), 0, 255).astype(np.uint8)
