import sys

import numpy as np
import pytest

from microdose_server.evaluate import codecs, hevc
from microdose_server.evaluate.codecs import (
    STRETCHES,
    Codec,
    decode,
    encode,
    encode_to_bytes,
    why_absent,
)
from microdose_server.evaluate.metrics import psnr
from microdose_server.training.data import Pixels
from tests.photos import photo


@pytest.fixture(scope="module")
def picture() -> Pixels:
    rng = np.random.default_rng(7)
    coarse = rng.integers(0, 256, (9, 13, 3)).repeat(8, axis=0).repeat(8, axis=1)
    return np.clip(coarse + rng.normal(0, 12, coarse.shape), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("codec", Codec)
@pytest.mark.parametrize("share", [0.2, 0.6, 0.9])
def test_never_fewer_bytes_and_no_step_too_many(picture: Pixels, codec: Codec, share: float) -> None:
    ladder = STRETCHES[codec][-1]
    quality = ladder[int(share * len(ladder))]
    target = len(encode(picture, codec, quality)) - 1
    coded = encode_to_bytes(picture, codec, target)
    assert len(coded.data) >= target
    assert len(coded.data) <= len(encode(picture, codec, quality))
    assert coded.pixels.shape == picture.shape


@pytest.mark.parametrize("codec", Codec)
def test_beyond_the_range_the_ends_are_taken(picture: Pixels, codec: Codec) -> None:
    worst, most = STRETCHES[codec][0][0], STRETCHES[codec][-1][-1]
    assert encode_to_bytes(picture, codec, 1).data == encode(picture, codec, worst)
    assert encode_to_bytes(picture, codec, 10**9).data == encode(picture, codec, most)


@pytest.mark.parametrize("codec", Codec)
def test_more_bytes_look_better(picture: Pixels, codec: Codec) -> None:
    low, high = (encode_to_bytes(picture, codec, bytes_) for bytes_ in (2_000, 9_000))
    assert psnr(picture, low.pixels) < psnr(picture, high.pixels)


def test_jpeg_xl_keeps_the_size_of_a_picture_where_it_can() -> None:
    view = photo(0, 400, 280)
    halved, whole = STRETCHES[Codec.JXL]
    least, most = encode(view, Codec.JXL, halved[0]), encode(view, Codec.JXL, halved[-1])
    assert len(encode(view, Codec.JXL, whole[0])) < len(most)
    coded = encode_to_bytes(view, Codec.JXL, len(most))
    assert psnr(view, coded.pixels) > psnr(view, decode(most, Codec.JXL, 280, 400)) + 1
    assert encode_to_bytes(view, Codec.JXL, len(least)).data == least


def test_between_stretches_the_first_of_the_better_one_is_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where the last quality at half size has too few bytes, and the first at full size too many."""

    def coded(pixels: Pixels, codec: Codec, quality: int) -> bytes:
        return bytes(100 + quality if quality in STRETCHES[codec][0] else 200 + quality)

    monkeypatch.setattr(codecs, "encode", coded)
    monkeypatch.setattr(codecs, "decode", lambda *_: photo(0))
    for target, size in ((1, 100), (110, 110), (118, 118), (119, 219), (219, 219), (220, 220)):
        assert len(encode_to_bytes(photo(0), Codec.JXL, target).data) == size


@pytest.mark.parametrize("codec", Codec)
def test_odd_sides_survive(picture: Pixels, codec: Codec) -> None:
    odd = picture[:51, :37]
    best = STRETCHES[codec][-1][-1]
    assert psnr(odd, decode(encode(odd, codec, best), codec, 51, 37)) > 20


def test_what_is_absent_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [why_absent(codec) for codec in Codec] == [None] * len(Codec)
    monkeypatch.setitem(sys.modules, "pillow_jxl", None)
    monkeypatch.setattr(hevc, "available", lambda: False)
    absent = {codec for codec in Codec if why_absent(codec)}
    assert absent == {Codec.JXL, Codec.X265}
