from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from microdose.base import LoadedBase
from microdose.decoder import Decoder
from microdose.engine import Graph, hyper_from
from microdose.errors import DigestMismatch
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from microdose_server.codec.encode import Encoder, load_encoder, to_tensor
from microdose_server.codec.folder import save_base
from microdose_server.codec.shipped import save_teacher
from microdose_server.codec.teacher import Teacher, pad_to_stride
from microdose_server.training.data import Pixels

SIZES = [(1, 1), (16, 16), (17, 33), (250, 161), (64, 65)]


@pytest.fixture(scope="module")
def decoder(tiny_encoder: Encoder) -> Decoder:
    return Decoder(tiny_encoder.base, threads=1)


@pytest.mark.parametrize(("height", "width"), SIZES)
def test_a_client_gets_the_same_latents_and_the_same_size(
    tiny_encoder: Encoder, decoder: Decoder, photographs: list[Pixels], height: int, width: int
) -> None:
    pixels = photographs[0][:height, :width]
    encoded = tiny_encoder.encode(pixels, epoch=3)
    segment = parse_segment(encoded.segment)
    y_hat = decode_picture(segment, tiny_encoder.base, hyper_from(Graph(tiny_encoder.base.hyper, 2)))
    assert np.array_equal(y_hat.view(np.uint32), encoded.y_hat.view(np.uint32))
    assert segment.header.epoch == 3
    assert encoded.x_hat.shape == pixels.shape
    assert decoder.decode(encoded.segment).pixels.shape == pixels.shape


def test_the_teachers_picture_resembles_the_original(
    tiny_encoder: Encoder, photographs: list[Pixels]
) -> None:
    """A fresh teacher carries a thumbnail: blocks of 32 pixels must have the right colours."""
    pixels = photographs[0][:256, :320]
    x_hat = tiny_encoder.encode(pixels).x_hat
    blocks = [each.reshape(8, 32, 10, 32, 3).mean((1, 3))[1:-1, 1:-1] for each in (pixels, x_hat)]
    assert np.abs(blocks[0] - blocks[1]).mean() < 15.0


def test_latents_are_those_of_the_float_teacher(tiny_encoder: Encoder, photographs: list[Pixels]) -> None:
    pixels = photographs[1][:80, :100]
    teacher = tiny_encoder.teacher
    with torch.no_grad():
        y = teacher.g_a(pad_to_stride(to_tensor(pixels)))[0].numpy()
    assert np.abs(tiny_encoder.encode(pixels).y_hat - y).max() <= 0.5 + 1e-5


def test_encoding_twice_gives_the_same_bytes(tiny_encoder: Encoder, photographs: list[Pixels]) -> None:
    pixels = photographs[1][:120, :96]
    assert tiny_encoder.encode(pixels).segment == tiny_encoder.encode(pixels).segment


def test_decode_crops_to_the_size(tiny_encoder: Encoder) -> None:
    y_hat = np.zeros((16, 2, 3), np.float32)
    assert tiny_encoder.decode(y_hat, 17, 33).shape == (17, 33, 3)


def test_to_tensor_keeps_every_value() -> None:
    pixels = np.arange(2 * 128 * 3).astype(np.uint8).reshape(2, 128, 3)
    x = to_tensor(pixels)
    assert x.shape == (1, 3, 2, 128)
    assert float(x.max()) == 1.0
    assert np.array_equal(np.rint(x[0].permute(1, 2, 0).numpy() * 255), pixels)


def test_the_rate_is_that_of_the_float_likelihood(
    shipped_encoder: Encoder, photographs: list[Pixels]
) -> None:
    """Integer hyper-synthesis, tables and range coder together may cost half a per cent."""
    coded = estimated = 0.0
    for pixels in photographs:
        segment = parse_segment(shipped_encoder.encode(pixels).segment)
        coded += 8.0 * (len(segment.hyper) + len(segment.latents))
        with torch.inference_mode():
            y = shipped_encoder.teacher.g_a(pad_to_stride(to_tensor(pixels)))
            estimated += shipped_encoder.teacher.hyperprior(y).rounded_bits.item()
    assert coded <= 1.005 * estimated


def test_a_teacher_is_loaded_with_its_own_base_alone(
    tiny_teacher: Teacher, tiny_teacher_base: LoadedBase, tmp_path: Path
) -> None:
    digest = save_teacher("tiny", tiny_teacher.state_dict(), tmp_path)
    document = tiny_teacher_base.document.model_copy(update={"teacher": digest})
    save_base(replace(tiny_teacher_base, document=document), tmp_path, "live")
    encoder = load_encoder(folder=tmp_path, student="live")
    assert encoder.base.document == document
    assert encoder.teacher.preset == tiny_teacher.preset
    other = {name: value + 1.0 for name, value in tiny_teacher.state_dict().items()}
    save_teacher("tiny", other, tmp_path)
    with pytest.raises(DigestMismatch, match=r"'tiny' was not distilled from .*microdose-server distil"):
        load_encoder(folder=tmp_path, student="live")
