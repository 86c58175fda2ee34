import math

import numpy as np
import pytest

from microdose_server.evaluate.flicker import flicker
from microdose_server.training.data import Pixels
from tests.photos import photo

WIDTH, HEIGHT = 96, 64
SCENE = [np.clip(photo(seed, WIDTH, HEIGHT), 60, 160) for seed in range(4)]


def wrong(by: list[int]) -> list[Pixels]:
    """The scene, each picture brighter by some levels."""
    return [(picture.astype(int) + level).astype(np.uint8) for picture, level in zip(SCENE, by, strict=True)]


def test_what_is_wrong_everywhere_alike_does_not_flicker() -> None:
    assert flicker(SCENE, wrong([40, 40, 40, 40])) == 0.0


def test_it_is_what_changes_too_much_in_levels() -> None:
    assert flicker(SCENE, wrong([0, 3, 3, -1])) == pytest.approx(math.sqrt((9 + 0 + 16) / 3))


def test_unrelated_errors_give_the_root_of_two_of_theirs() -> None:
    chance = np.random.default_rng(0)
    noisy = [(each + chance.normal(0.0, 8.0, each.shape)).round().astype(np.uint8) for each in SCENE]
    errors = [each.astype(float) - true for each, true in zip(noisy, SCENE, strict=True)]
    assert flicker(SCENE, noisy) == pytest.approx(math.sqrt(2.0 * np.mean(np.square(errors))), rel=0.02)


def test_only_neighbours_of_one_size_are_a_pair() -> None:
    other = photo(9, HEIGHT, WIDTH)
    scene, shown = [*SCENE[:2], other, SCENE[2]], [*wrong([0, 6, 0, 90])[:2], other, SCENE[2]]
    assert flicker(scene, shown) == 6.0
    assert flicker([SCENE[0], other], [SCENE[0], other]) is None
    assert flicker(SCENE[:1], SCENE[:1]) is None


def test_sequences_are_of_one_length() -> None:
    with pytest.raises(ValueError, match="zip"):
        flicker(SCENE, SCENE[:1])
