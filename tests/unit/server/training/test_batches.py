from itertools import islice

import numpy as np
import pytest
import torch

from microdose.errors import BadUpload
from microdose_server.training.batches import AHEAD, Batches
from microdose_server.training.data import Pixels, crops
from microdose_server.training.peers import Peers


def generator(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def test_they_are_those_cut_one_by_one(photographs: list[Pixels]) -> None:
    expected = list(islice(crops(photographs, 4, 32, generator()), 3 * AHEAD))
    with Batches(photographs, 4, 32, generator()) as batches:
        for batch in expected:
            assert torch.equal(next(batches), batch)


def test_the_generator_knows_only_what_was_taken(photographs: list[Pixels]) -> None:
    ahead, steady = generator(), generator()
    one_by_one = crops(photographs, 4, 32, steady)
    with Batches(photographs, 4, 32, ahead) as batches:
        for _ in range(3):
            next(batches)
            next(one_by_one)
            assert ahead.bit_generator.state == steady.bit_generator.state


@pytest.mark.parametrize("count", [2, 4])
def test_processes_share_a_batch(photographs: list[Pixels], count: int) -> None:
    (whole,) = islice(crops(photographs, 4, 32, generator()), 1)
    for rank in range(count):
        with Batches(photographs, 4, 32, generator(), Peers(rank, count)) as batches:
            assert torch.equal(next(batches), whole[rank::count])


def test_uneven_shares_are_refused(photographs: list[Pixels]) -> None:
    with pytest.raises(BadUpload, match="4 crops cannot be shared by 3 processes"):
        Batches(photographs, 4, 32, generator(), Peers(0, 3))


def test_the_wait_is_counted_once(photographs: list[Pixels]) -> None:
    with Batches(photographs, 4, 32, generator()) as batches:
        next(batches)
        assert batches.waited() > 0.0
        assert batches.waited() == 0.0


def test_what_fails_in_a_thread_is_told(photographs: list[Pixels]) -> None:
    with (
        Batches([photographs[0][:, :, 0]], 1, 32, generator()) as batches,
        pytest.raises(RuntimeError, match="dimensions"),
    ):
        next(batches)
