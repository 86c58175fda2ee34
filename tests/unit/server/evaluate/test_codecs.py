import numpy as np
import pytest

from microdose_server.evaluate.codecs import Codec, Pixels, encode, encode_to_bytes
from microdose_server.evaluate.metrics import psnr


@pytest.fixture(scope="module")
def picture() -> Pixels:
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (9, 13, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("quality", [20, 60, 90])
def test_never_fewer_bytes_and_no_step_too_many(picture: Pixels, codec: Codec, quality: int) -> None:
    target = len(encode(picture, codec, quality)) - 1
    coded = encode_to_bytes(picture, codec, target)
    assert len(coded.data) >= target
    assert len(coded.data) <= len(encode(picture, codec, quality))
    assert coded.pixels.shape == picture.shape


@pytest.mark.parametrize("codec", Codec)
def test_beyond_the_range_the_ends_are_taken(picture: Pixels, codec: Codec) -> None:
    assert encode_to_bytes(picture, codec, 1).data == encode(picture, codec, 0)
    assert encode_to_bytes(picture, codec, 10**9).data == encode(picture, codec, 100)


@pytest.mark.parametrize("codec", Codec)
def test_more_bytes_look_better(picture: Pixels, codec: Codec) -> None:
    low, high = (encode_to_bytes(picture, codec, bytes_) for bytes_ in (2_000, 9_000))
    assert psnr(picture, low.pixels) < psnr(picture, high.pixels)
