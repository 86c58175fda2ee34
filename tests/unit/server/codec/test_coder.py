import numpy as np
import pytest

from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from microdose_server.codec.coder import Coder
from microdose_server.codec.encode import Encoder
from microdose_server.codec.hyperprior import scale_table
from microdose_server.training.data import Pixels


def test_codes_as_the_encoder_does(tiny_encoder: Encoder, photographs: list[Pixels]) -> None:
    pixels, base = photographs[0][:70, :50], tiny_encoder.base
    segment, y_hat = Coder(base).code(tiny_encoder.latents(pixels), (70, 50), epoch=3)
    expected, expected_y_hat = tiny_encoder.analyse(pixels, epoch=3)
    assert segment == expected
    assert parse_segment(segment).header.epoch == 3
    assert np.array_equal(y_hat, expected_y_hat)
    assert np.array_equal(decode_picture(parse_segment(segment), base, hyper_from(Graph(base.hyper))), y_hat)


def test_the_prior_is_what_is_coded_with(shipped_encoder: Encoder, photographs: list[Pixels]) -> None:
    latents, coder = shipped_encoder.latents(photographs[0][:200, :330]), Coder(shipped_encoder.base)
    mu, sigma = coder.prior(latents)
    _, y_hat = coder.code(latents, (200, 330))
    assert mu.shape == sigma.shape == latents.y.shape
    assert np.array_equal(y_hat, np.rint(latents.y - mu) + mu)
    assert set(sigma.ravel()) <= set(np.array(scale_table(), np.float32))
    # As wide as it says: the tables are of what is coded, picture by picture, give or take.
    assert 0.7 < np.sqrt(np.mean(((latents.y - mu) / sigma)[sigma > 1.0] ** 2)) < 1.4


def test_z_that_the_base_cannot_carry_is_clamped_for_the_prior_too(
    tiny_encoder: Encoder, photographs: list[Pixels]
) -> None:
    latents, coder = tiny_encoder.latents(photographs[0][:64, :64]), Coder(tiny_encoder.base)
    wild = latents._replace(z=np.full_like(latents.z, 10_000))
    _, y_hat = coder.code(wild, (64, 64))
    mu, _ = coder.prior(wild)
    assert np.array_equal(y_hat, np.rint(latents.y - mu) + mu)


def test_latents_of_another_size_are_refused(tiny_encoder: Encoder, photographs: list[Pixels]) -> None:
    latents = tiny_encoder.latents(photographs[0][:64, :64])
    with pytest.raises(CorruptStream, match="does not fit 80 x 64 pixels"):
        Coder(tiny_encoder.base).code(latents, (64, 80))
