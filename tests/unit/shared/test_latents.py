from dataclasses import replace

import numpy as np
import pytest

from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream, NotReproducible, UnknownBase
from microdose.latents import (
    Floats,
    Hyper,
    decode_picture,
    encode_picture,
    hyper_shape,
    index_hash,
    scale_index,
)
from microdose.segment import Segment
from tests.tiny_base import HYPER_CHANNELS, HYPER_CLAMP, LATENT_CHANNELS, tiny_base

BASE = tiny_base()
HYPER: Hyper = hyper_from(Graph(BASE.hyper, 1))


def encoded(width: int = 100, height: int = 70, seed: int = 0) -> tuple[Segment, Floats]:
    rng = np.random.default_rng(seed)
    rows, columns = -(-height // 16), -(-width // 16)
    y = rng.normal(0, 3, (LATENT_CHANNELS, rows, columns)).astype(np.float32)
    z = rng.integers(-4, 5, (HYPER_CHANNELS, -(-rows // 4), -(-columns // 4))).astype(np.int32)
    return encode_picture(y, z, width, height, 3, BASE, HYPER)


def test_scale_index_counts_thresholds() -> None:
    thresholds = np.array([1, 3, 4, 100], np.int32)
    scale = np.array([-5, 0, 2, 3, 4, 99, 100, 1e9], np.float32)
    assert scale_index(scale, thresholds).tolist() == [0, 0, 1, 2, 3, 3, 4, 4]
    assert scale_index(scale, thresholds).dtype == np.uint8


def test_index_hash_is_over_the_numbers_and_not_their_memory() -> None:
    index = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    assert index_hash(index) == index_hash(np.asfortranarray(index)) != index_hash(index + np.uint8(1))


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (17, 130), (100, 70)])
def test_decoding_gives_the_encoders_y_hat_bit_for_bit(width: int, height: int) -> None:
    segment, y_hat = encoded(width, height)
    assert decode_picture(segment, BASE, HYPER).tobytes() == y_hat.tobytes()
    assert segment.header.epoch == 3


def test_y_hat_is_within_half_a_step_of_y() -> None:
    y = np.random.default_rng(1).normal(0, 50, (LATENT_CHANNELS, 2, 2)).astype(np.float32)
    _, y_hat = encode_picture(y, np.zeros((HYPER_CHANNELS, 1, 1), np.int32), 32, 32, 0, BASE, HYPER)
    assert np.abs(y_hat - y).max() <= 0.5001


def test_extreme_latents_are_clamped_but_coded() -> None:
    y = np.full((LATENT_CHANNELS, 1, 1), 1e30, np.float32)
    z = np.full((HYPER_CHANNELS, 1, 1), 10**6, np.int32)
    segment, y_hat = encode_picture(y, z, 16, 16, 0, BASE, HYPER)
    assert np.array_equal(decode_picture(segment, BASE, HYPER), y_hat)


def test_a_segment_of_another_base_is_refused_first() -> None:
    segment, _ = encoded()
    with pytest.raises(UnknownBase):
        decode_picture(replace(segment, hyper=b"garbage"), tiny_base(1), HYPER)


def test_a_machine_that_computes_other_indexes_says_so() -> None:
    def drifted(z: np.typing.NDArray[np.int32]) -> tuple[Floats, Floats]:
        scale, mean = HYPER(z)
        scale[0, 0, 0] = 100 if scale[0, 0, 0] < 3 else 0
        return scale, mean

    segment, _ = encoded()
    with pytest.raises(NotReproducible, match="another"):
        decode_picture(replace(segment, latents=b"garbage"), BASE, drifted)


def test_hyper_latents_outside_the_clamp_are_refused() -> None:
    loose = replace(BASE, document=BASE.document.model_copy(update={"hyper_clamp": HYPER_CLAMP + 5}))
    z = np.full((HYPER_CHANNELS, 1, 1), HYPER_CLAMP + 1, np.int32)
    segment, _ = encode_picture(np.zeros((LATENT_CHANNELS, 1, 1), np.float32), z, 16, 16, 0, loose, HYPER)
    with pytest.raises(CorruptStream, match="outside"):
        decode_picture(segment, BASE, HYPER)


def test_shapes_that_do_not_fit_are_refused_by_the_encoder() -> None:
    y, z = np.zeros((LATENT_CHANNELS, 2, 2), np.float32), np.zeros((HYPER_CHANNELS, 1, 1), np.int32)
    for width, height in [(16, 32), (33, 32), (200, 200)]:
        with pytest.raises(CorruptStream, match="does not fit"):
            encode_picture(y, z, width, height, 0, BASE, HYPER)
    with pytest.raises(CorruptStream, match="not finite"):
        encode_picture(y * np.float32(np.nan), z, 32, 32, 0, BASE, HYPER)


@pytest.mark.parametrize("fault", ["shape", "nan"])
def test_a_hyper_graph_that_misbehaves_is_refused(fault: str) -> None:
    def broken(z: np.typing.NDArray[np.int32]) -> tuple[Floats, Floats]:
        scale, mean = HYPER(z)
        return (scale[:, :1], mean) if fault == "shape" else (scale * np.float32(np.nan), mean)

    segment, _ = encoded()
    with pytest.raises(CorruptStream, match="hyper graph"):
        decode_picture(segment, BASE, broken)


def test_hyper_shape_rounds_up() -> None:
    segment, _ = encoded(17 * 16, 16)
    assert hyper_shape(segment.header, BASE.document) == (HYPER_CHANNELS, 1, 5)
