from itertools import islice

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from microdose_server.training.data import (
    Photos,
    Pixels,
    Window,
    areas,
    crops,
    cut,
    draw,
    identity_of,
    sizes_of,
    split_held_out,
)


def batches(photos: list[Pixels], seed: int, count: int = 3) -> torch.Tensor:
    return torch.cat(list(islice(crops(photos, 4, 32, np.random.default_rng(seed)), count)))


def test_crops_follow_the_generator_alone(photographs: list[Pixels]) -> None:
    first = batches(photographs, 0)
    assert first.shape == (12, 3, 32, 32)
    assert torch.equal(first, batches(photographs, 0))
    assert not torch.equal(first, batches(photographs, 1))
    assert 0.0 <= float(first.min()) < float(first.max()) <= 1.0


def test_crops_are_laid_out_as_networks_want_them(photographs: list[Pixels]) -> None:
    batch = next(crops(photographs, 4, 32, np.random.default_rng(0)))
    assert batch.is_contiguous(memory_format=torch.channels_last)


def test_a_generator_can_be_taken_up_where_it_stopped(photographs: list[Pixels]) -> None:
    rng = np.random.default_rng(0)
    list(islice(crops(photographs, 4, 32, rng), 2))
    later = np.random.default_rng(1)
    later.bit_generator.state = rng.bit_generator.state
    assert torch.equal(next(crops(photographs, 4, 32, later)), batches(photographs, 0)[8:])


def test_crops_show_the_photograph(photographs: list[Pixels]) -> None:
    """A photograph no larger than the crop can only be shown as it is, or mirrored."""
    photo = photographs[0][100:132, 50:82]
    for shown in batches([photo], 0):
        pixels = np.rint(shown.permute(1, 2, 0).numpy() * 255)
        assert np.array_equal(pixels, photo) or np.array_equal(pixels, photo[:, ::-1])


@pytest.mark.parametrize("side", [32, 50])
def test_crops_are_mirrored_as_they_were_drawn(photographs: list[Pixels], side: int) -> None:
    plain, mirrored = (cut(photographs, [Window(0, 100, 50, side, flip)], 32) for flip in (False, True))
    assert torch.equal(mirrored, plain.flip(3))
    assert not torch.equal(mirrored, plain)


def test_half_of_the_crops_are_mirrored() -> None:
    drawn = draw([(64, 64)], areas([(64, 64)]), 400, 32, np.random.default_rng(0))
    assert sum(window.mirrored for window in drawn) / 400 == pytest.approx(0.5, abs=0.1)


def test_photographs_are_drawn_by_area() -> None:
    small, large = np.zeros((32, 32, 3), np.uint8), np.full((96, 96, 3), 255, np.uint8)
    white = batches([small, large], 0, count=100).mean()
    assert float(white) == pytest.approx(0.9, abs=0.04)


@given(st.integers(1, 60), st.integers(0, 20))
def test_every_photograph_is_trained_on_or_held_out(count: int, held_out: int) -> None:
    training, kept = split_held_out(count, held_out)
    assert sorted([*training, *kept]) == list(range(count))
    assert len(kept) == (held_out if count > 2 * held_out else 0)


def asked_for(sizes: list[tuple[int, int]]) -> tuple[Photos, list[int]]:
    """Photographs that are full of their number, and a list of those that were read."""
    asked = list[int]()

    def read(number: int) -> Pixels:
        asked.append(number)
        return np.full((*sizes[number], 3), number, np.uint8)

    return Photos(sizes, read), asked


def test_some_of_the_photographs_are_a_view_of_all() -> None:
    photos, asked = asked_for([(1, 2), (3, 4), (5, 6), (7, 8)])
    some = photos.only([3, 1, 2])[1:]
    assert (len(some), some.sizes) == (2, [(3, 4), (5, 6)])
    assert asked == []
    assert [photo.shape for photo in some] == [(3, 4, 3), (5, 6, 3)]
    assert (int(some[-1][0, 0, 0]), asked) == (2, [1, 2, 2])
    with pytest.raises(IndexError):
        some[2]


def test_only_what_a_crop_is_cut_of_is_read() -> None:
    photos, asked = asked_for([(32, 32)] * 50)
    next(crops(photos, 3, 32, np.random.default_rng(0)))
    assert len(asked) == 3


def test_photographs_are_known_again_by_their_sizes(photographs: list[Pixels]) -> None:
    first = identity_of(photographs)
    assert first == identity_of(Photos(sizes_of(photographs), photographs.__getitem__))
    assert first["count"] == 2
    turned = [photographs[0], photographs[1].swapaxes(0, 1)]
    assert identity_of(turned) != first
    assert identity_of(turned[::-1]) != identity_of(turned)
