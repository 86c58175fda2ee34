from dataclasses import replace

import numpy as np
import pytest

from microdose.decoder import Decoder, to_pixels
from microdose.engine import Graph
from microdose.errors import CorruptStream, DoseMismatch, UnknownBase
from microdose.latents import decode_picture
from microdose.segment import parse_segment
from tests.tiny_base import tiny_base, tiny_dose, tiny_segment

BASE = tiny_base()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (16, 16), (40, 24), (65, 200)])
def test_pictures_have_the_size_that_was_coded(width: int, height: int) -> None:
    picture = Decoder(BASE).decode(tiny_segment(BASE, width, height))
    assert picture.pixels.shape == (height, width, 3)
    assert picture.pixels.dtype == np.uint8
    assert picture.timings.total_ms > 0


def test_pixels_are_the_students_answer_to_y_hat() -> None:
    data = tiny_segment(BASE)
    decoder = Decoder(BASE, threads=1)
    y_hat = decode_picture(parse_segment(data), BASE, decoder._hyper)
    x_hat = Graph(BASE.student, 1).run(y_hat=y_hat[None])["x_hat"][0]
    assert np.array_equal(decoder.decode(data).pixels, to_pixels(x_hat[:, :24, :40]))


def test_a_dose_changes_the_picture_and_an_empty_one_does_not() -> None:
    data = tiny_segment(BASE)
    generic = Decoder(BASE).decode(data).pixels
    dosed = Decoder(BASE, tiny_dose(BASE)).decode(data).pixels
    assert not np.array_equal(generic, dosed)
    assert np.array_equal(generic, Decoder(BASE, threads=2).decode(data).pixels)


def test_doses_may_build_on_one_another() -> None:
    data, first = tiny_segment(BASE), tiny_dose(BASE)
    second = tiny_dose(BASE, epoch=1, seed=1, parent=first)
    one, both = Decoder(BASE, first), Decoder(BASE, first, second)
    assert not np.array_equal(one.decode(data).pixels, both.decode(data).pixels)
    with pytest.raises(DoseMismatch, match="builds on"):
        Decoder(BASE, second)


def test_what_belongs_to_another_base_is_refused() -> None:
    other = tiny_base(1)
    with pytest.raises(UnknownBase):
        Decoder(BASE).decode(tiny_segment(other))
    with pytest.raises(DoseMismatch):
        Decoder(BASE, tiny_dose(other))


def test_a_student_of_wrong_shape_is_refused() -> None:
    decoder = Decoder(replace(BASE, student=BASE.hyper))
    with pytest.raises(CorruptStream):
        decoder.decode(tiny_segment(BASE))


def test_a_student_that_gives_no_numbers_is_refused() -> None:
    slot = BASE.document.tensors[3]
    student = bytearray(BASE.student)
    student[slot.offset : slot.offset + 4] = np.float32(np.nan).tobytes()
    with pytest.raises(CorruptStream, match="not finite"):
        Decoder(replace(BASE, student=bytes(student))).decode(tiny_segment(BASE))


def test_to_pixels_clips_and_rounds() -> None:
    x_hat = np.array([-1, 0, 0.5 / 255, 1.4 / 255, 1, 7], np.float32).reshape(3, 1, 2)
    assert to_pixels(x_hat).ravel().tolist() == [0, 0, 1, 0, 1, 255] or to_pixels(x_hat).shape == (1, 2, 3)
