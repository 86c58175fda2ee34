from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from microdose_server.training.data import Pixels
from microdose_server.training.decoded import Decoded

BYTES = 300


def numbered(asked: list[int]) -> Decoded:
    """Room for three pictures of `BYTES`, and a little."""

    def decode(number: int) -> Pixels:
        asked.append(number)
        return np.full((10, 10 if number < 100 else 1000, 3), number % 100, np.uint8)

    return Decoded(decode, 3 * BYTES + 10)


def test_what_was_asked_for_least_recently_goes_first() -> None:
    asked = list[int]()
    decoded = numbered(asked)
    for number in (0, 1, 2, 0, 3, 0, 2, 3, 1):
        assert int(decoded(number)[0, 0, 0]) == number
    assert asked == [0, 1, 2, 3, 1]
    assert decoded.size == 3 * BYTES


def test_a_picture_beyond_the_limit_is_given_but_not_kept() -> None:
    asked = list[int]()
    decoded = numbered(asked)
    decoded(0)
    assert decoded(100).nbytes == 100 * BYTES
    assert decoded.size == 0


def test_threads_stay_within_the_bytes_together() -> None:
    decoded = numbered([])
    numbers = np.random.default_rng(0).integers(0, 9, 3000).tolist()

    def look(number: int) -> int:
        assert int(decoded(number)[0, 0, 0]) == number
        return decoded.size

    with ThreadPoolExecutor(8) as pool:
        pool.map(look, numbers)
        assert max(pool.map(look, numbers)) <= 4 * BYTES + 10  # one that came in while another looked
    assert decoded.size == 3 * BYTES


def test_what_cannot_be_decoded_is_tried_again() -> None:
    def decode(number: int) -> Pixels:
        raise ValueError(number)

    decoded = Decoded(decode, BYTES)
    for _ in range(2):
        with pytest.raises(ValueError, match="7"):
            decoded(7)
    assert decoded.size == 0
