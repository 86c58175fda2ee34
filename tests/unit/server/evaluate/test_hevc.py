import numpy as np
import pytest

from microdose_server.evaluate.hevc import CRF_MOST, available, decode, encode
from microdose_server.evaluate.metrics import psnr
from tests.photos import photo


def test_a_picture_comes_back() -> None:
    assert available()
    picture = photo(width=96, height=64)
    assert psnr(picture, decode(encode(picture, 4), 64, 96)) > 30


def test_a_worse_quality_takes_fewer_bytes() -> None:
    sizes = [len(encode(photo(), crf)) for crf in (10, 30, CRF_MOST)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > 4 * sizes[-1]


@pytest.mark.parametrize(("height", "width"), [(63, 96), (64, 95), (33, 41)])
def test_odd_sides(height: int, width: int) -> None:
    picture = photo()[:height, :width]
    assert decode(encode(picture, 10), height, width).shape == (height, width, 3)


def test_bytes_depend_on_the_picture_alone() -> None:
    assert encode(photo(), 20) == encode(photo(), 20)
    assert np.array_equal(decode(encode(photo(), 20), 64, 96), decode(encode(photo(), 20), 64, 96))
