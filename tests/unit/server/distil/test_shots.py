import numpy as np
import pytest

from microdose_server.distil.shots import MEMORY, SIDE, ShotDetector, shots_of, thumbnail
from tests.photos import Pixels, photo


def cuts(pictures: list[Pixels]) -> list[int]:
    detector = ShotDetector()
    return [n for n, picture in enumerate(pictures) if detector.is_cut(picture)]


def pan(count: int, name: str = "china.jpg") -> list[Pixels]:
    return [photo(n, name=name) for n in range(count)]


def test_a_cut_is_found_where_it_is() -> None:
    assert cuts([*pan(14), *(~picture for picture in pan(20, "flower.jpg")), *pan(3)]) == [14, 34]


def test_a_pan_and_a_slow_fade_have_no_cut() -> None:
    fade = [(photo(0) * (1 - k / 40)).astype(np.uint8) for k in range(40)]
    assert cuts(pan(40)) == []
    assert cuts(fade) == []


def test_unrelated_pictures_are_one_set() -> None:
    rng = np.random.default_rng(0)
    pictures = [np.full((64, 96, 3), level, np.uint8) for level in rng.integers(0, 256, 60)]
    assert len(cuts(pictures)) <= 1


def test_a_short_shot_stays_with_the_one_before() -> None:
    other = ~photo(0, name="flower.jpg")
    assert cuts([*pan(MEMORY - 2), other, other]) == []


@pytest.mark.parametrize("size", [(1, 1), (5, 300), (16, 16), (700, 900)])
def test_a_thumbnail_has_one_size(size: tuple[int, int]) -> None:
    seen = thumbnail(np.full((*size, 3), 100, np.uint8))
    assert seen.shape == (SIDE, SIDE)
    assert np.allclose(seen, 100, atol=0.01)


@pytest.mark.parametrize(
    ("count", "cuts", "shots"),
    [
        (1, [], [range(1)]),
        (40, [], [range(40)]),
        (40, [13, 28], [range(13), range(13, 28), range(28, 40)]),
        (40, [13, 29], [range(13), range(13, 40)]),  # the last one is too short for a dose of its own
        (3, [0], [range(3)]),
    ],
)
def test_shots_cover_a_sequence(count: int, cuts: list[int], shots: list[range]) -> None:
    assert shots_of([n in cuts for n in range(count)]) == shots
