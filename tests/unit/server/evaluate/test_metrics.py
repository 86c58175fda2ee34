import math

import numpy as np
import pytest

from microdose_server.evaluate.metrics import (
    MOVED,
    Pixels,
    dists,
    lpips,
    lpips_moved,
    ms_ssim,
    psnr,
    tensor_of,
)


@pytest.fixture
def picture() -> Pixels:
    y, x = np.mgrid[0:192, 0:256]
    pixels: Pixels = np.stack([x, y, (x * y) // 192], axis=2).astype(np.uint8)
    return pixels


def test_psnr_by_hand(picture: Pixels) -> None:
    off_by_ten = np.where(picture > 127, picture - 10, picture + 10).astype(np.uint8)
    assert psnr(picture, off_by_ten) == pytest.approx(20 * math.log10(25.5))
    assert psnr(picture, picture) == math.inf


def test_psnr_does_not_wrap_around() -> None:
    black, white = np.zeros((4, 4, 3), np.uint8), np.full((4, 4, 3), 255, np.uint8)
    assert psnr(black, white) == 0


def test_equal_pictures_are_perfect(picture: Pixels) -> None:
    assert ms_ssim(picture, picture) == pytest.approx(1)
    assert lpips(picture, picture) == 0
    assert dists(picture, picture) == pytest.approx(0, abs=1e-5)


def test_moved_lpips_looks_at_the_picture_from_another_place(picture: Pixels) -> None:
    other = picture.copy()
    other[:MOVED] = 0
    other[:, :MOVED] = 0
    assert lpips(picture, other) > 0
    assert lpips_moved(picture, other) == 0


def test_worse_is_worse(picture: Pixels) -> None:
    noise = np.random.default_rng(1).normal(size=picture.shape)
    little, much = (np.clip(picture + s * noise, 0, 255).astype(np.uint8) for s in (4, 40))
    assert psnr(picture, little) > psnr(picture, much)
    assert ms_ssim(picture, little) > ms_ssim(picture, much)
    assert lpips(picture, little) < lpips(picture, much)
    assert dists(picture, little) < dists(picture, much)


def test_tensor_has_channels_first_and_unit_range(picture: Pixels) -> None:
    tensor = tensor_of(picture)
    assert tensor.shape == (1, 3, 192, 256)
    assert float(tensor[0, 0, 0, 255]) == 1
