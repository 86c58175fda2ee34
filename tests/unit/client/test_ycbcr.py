"""Colours by BT.601, there and back."""

import numpy as np
import pytest

from microdose_client.ycbcr import to_rgb, to_yuv

COLOURS = np.array([[[0, 0, 0], [255, 255, 255], [255, 0, 0], [0, 255, 0], [0, 0, 255]]], np.uint8)


def test_known_colours() -> None:
    y, cb, cr = to_yuv(COLOURS)[:, 0].tolist()
    assert y == [16, 235, 81, 145, 41]
    assert cb == [128, 128, 90, 54, 240]
    assert cr == [128, 128, 240, 34, 110]


def test_all_colours_come_back_but_for_rounding() -> None:
    grid = np.stack(np.meshgrid(*[np.arange(0, 256, 5)] * 3), -1).astype(np.uint8).reshape(52, -1, 3)
    back = to_rgb(to_yuv(grid).astype(np.float32))
    assert np.abs(back.astype(int) - grid).max() <= 2


@pytest.mark.parametrize(
    ("yuv", "full", "rgb"),
    [
        ((16, 128, 128), False, (0, 0, 0)),
        ((235, 128, 128), False, (255, 255, 255)),
        ((0, 128, 128), True, (0, 0, 0)),
        ((255, 128, 128), True, (255, 255, 255)),
        ((76.245, 84.972, 255), True, (254, 0, 0)),
        ((255, 255, 255), False, (255, 125, 255)),  # no colour of a screen: clipped
    ],
)
def test_ranges(yuv: tuple[float, ...], full: bool, rgb: tuple[int, ...]) -> None:
    assert tuple(to_rgb(np.array(yuv, np.float32).reshape(3, 1, 1), full)[0, 0]) == rgb
