import numpy as np
import pytest

from microdose_server.codec.encode import Encoder
from microdose_server.evaluate.finer import APART, Analysed, analyse, finer_latents, requantise
from tests.photos import photo

PICTURES = [photo(0, 130, 70), photo(9, 96, 64)]


@pytest.fixture(scope="module")
def coded(tiny_encoder: Encoder) -> tuple[list[bytes], list[Analysed]]:
    segments = [tiny_encoder.encode(picture).segment for picture in PICTURES]
    return segments, analyse(tiny_encoder.teacher, tiny_encoder.base, PICTURES, segments)


def test_without_a_shift_it_is_the_segment_as_it_is(
    tiny_encoder: Encoder, coded: tuple[list[bytes], list[Analysed]]
) -> None:
    for picture, segment, analysed in zip(PICTURES, *coded, strict=True):
        size, y_hat = requantise(analysed, tiny_encoder.base, 0.0)
        assert size == len(segment)
        assert np.array_equal(y_hat, tiny_encoder.encode(picture).y_hat)


def test_finer_steps_are_nearer_and_cost_more(
    tiny_encoder: Encoder, coded: tuple[list[bytes], list[Analysed]]
) -> None:
    analysed = coded[1][0]
    sizes, errors = [], []
    for shift in (0.0, 4.0, 9.0):
        size, y_hat = requantise(analysed, tiny_encoder.base, shift)
        sizes.append(size)
        errors.append(float(np.abs(y_hat - analysed.y).max()))
        assert errors[-1] <= 0.5 * APART**-shift + 1e-4
    assert sizes == sorted(set(sizes))
    assert errors == sorted(errors, reverse=True)


def test_bytes_are_spent_but_no_more_than_there_are(
    tiny_encoder: Encoder, coded: tuple[list[bytes], list[Analysed]]
) -> None:
    segments, analysed = coded
    as_they_are = sum(map(len, segments))
    size, latents = finer_latents(analysed, tiny_encoder.base, as_they_are + 100)
    assert as_they_are < size <= as_they_are + 100
    assert [y_hat.shape for y_hat in latents] == [each.y.shape for each in analysed]
    assert finer_latents(analysed, tiny_encoder.base, as_they_are)[0] <= as_they_are


def test_more_bytes_are_spent_on_steps_no_coarser(
    tiny_encoder: Encoder, coded: tuple[list[bytes], list[Analysed]]
) -> None:
    segments, analysed = coded
    as_they_are = sum(map(len, segments))
    spent, errors = [], []
    for more in (0, 5, 40, 80, 300):
        size, latents = finer_latents(analysed, tiny_encoder.base, as_they_are + more)
        assert size <= as_they_are + more
        spent.append(size - as_they_are)
        errors.append(sum(float(np.abs(y - each.y).sum()) for y, each in zip(latents, analysed, strict=True)))
    assert spent == sorted(spent)
    assert spent[-1] > 290
    assert errors[-1] < errors[0]
