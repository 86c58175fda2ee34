"""Epochs for shots: which start, which share, and what becomes of a shot that no dose pays for."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.dose import MAX_CHAIN, DoseKind
from microdose_server.distil.specialise import Dosed
from microdose_server.distil.tiles import Target
from microdose_server.jobs.dosing import Allowance, Doses, Found, Task, dose_shots
from microdose_server.jobs.publication import RECALLED, Epoch, doses_of

NOTHING = Dosed(None, DoseKind.NONE, 1.0, 1.0)


def shot(pictures: int) -> list[Target]:
    """Pictures of 100 pixels."""
    return [Target(np.zeros((1, 1, 1), np.float32), np.zeros((10, 10, 3), np.uint8))] * pictures


def dosed(name: bytes) -> Dosed:
    return Dosed(name, DoseKind.GAINS, 1.0, 0.5)


def from_newest(task: Task, dosed: Dosed) -> Found:
    return Found(len(task.starts) - 1, dosed, 0.0)


def test_each_shot_has_a_dose_that_builds_on_the_one_before() -> None:
    tasks: list[Task] = []

    def distil(task: Task) -> Found:
        tasks.append(task)
        return from_newest(task, dosed(b"%d" % len(tasks)))

    found = dose_shots([shot(1)] * 3, Allowance(300, 30), distil)
    assert found.epochs == [
        Epoch(DoseKind.GAINS, b"1"),
        Epoch(DoseKind.GAINS, b"2", 0),
        Epoch(DoseKind.GAINS, b"3", 1),
    ]
    assert found.of_shots == [0, 1, 2]
    assert [task.starts for task in tasks] == [((),), ((), (b"1",)), ((), (b"1",), (b"1", b"2"))]
    assert [task.epoch for task in tasks] == [0, 1, 2]


def test_shots_that_no_dose_pays_for_share_one_epoch() -> None:
    found = dose_shots([shot(1)] * 3, Allowance(300, 30), lambda task: from_newest(task, NOTHING))
    assert found.epochs == [Epoch(DoseKind.NONE)]
    assert found.of_shots == [0, 0, 0]


def test_a_scene_that_comes_back_finds_its_dose_again() -> None:
    answers = iter(
        [
            Found(0, dosed(b"indoors"), 0.0),
            Found(0, dosed(b"outdoors"), 0.0),
            Found(1, NOTHING, 0.0),
            Found(2, NOTHING, 0.0),
            Found(0, NOTHING, 0.0),
        ]
    )
    found = dose_shots([shot(1)] * 5, Allowance(500, 30), lambda task: next(answers))
    assert found.epochs == [
        Epoch(DoseKind.GAINS, b"indoors"),
        Epoch(DoseKind.GAINS, b"outdoors"),
        Epoch(DoseKind.NONE),
    ]
    assert found.of_shots == [0, 1, 0, 1, 2]


def test_no_chain_is_longer_than_a_client_takes() -> None:
    names = (b"%d" % n for n in range(60))
    found = dose_shots(
        [shot(1)] * 60, Allowance(6000, 60), lambda task: from_newest(task, dosed(next(names)))
    )
    depths = [len(doses_of(found.epochs, n)) for n in range(60)]
    assert max(depths) == MAX_CHAIN
    assert depths.count(1) > 1  # and then a new one begins
    assert all(epoch.parent is None or n - epoch.parent <= RECALLED for n, epoch in enumerate(found.epochs))


def test_a_generic_epoch_is_nothing_to_build_on() -> None:
    found = Doses()
    found.add(None, NOTHING)
    assert found.starts() == [None]


def test_steps_and_bytes_are_shared_by_pixels_and_bytes_left_over_are_for_later() -> None:
    shares: list[Allowance] = []

    def distil(task: Task) -> Found:
        shares.append(task.allowance)
        return Found(0, dosed(b"x" * 10) if len(shares) == 1 else NOTHING, 0.0)

    dose_shots([shot(1), shot(3), shot(4)], Allowance(800, 80, None, 800), distil)
    assert [share.pixels for share in shares] == [100, 300, 400]
    assert [share.steps for share in shares] == [10, 30, 40]
    assert [share.size for share in shares] == [100, 338, 790]
    assert {share.seconds for share in shares} == {None}


def test_seconds_that_are_left_over_are_for_later() -> None:
    shares: list[float | None] = []

    def distil(task: Task) -> Found:
        shares.append(task.allowance.seconds)
        return Found(0, NOTHING, 5.0)

    dose_shots([shot(1), shot(3), shot(4), shot(2)], Allowance(1000, 80, 12.0), distil)
    assert shares == [pytest.approx(seconds) for seconds in (1.2, 7 / 3, 4 / 3, 0.0)]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=9), st.integers(0, 1000), st.integers(1, 1000))
def test_no_more_is_given_than_there_is(lengths: list[int], steps: int, size: int) -> None:
    given: list[Allowance] = []

    def distil(task: Task) -> Found:
        given.append(task.allowance)
        assert task.allowance.size is not None
        return Found(0, dosed(bytes(task.allowance.size)) if task.allowance.size > 1 else NOTHING, 0.0)

    dose_shots(list(map(shot, lengths)), Allowance(100 * sum(lengths), steps, None, size), distil)
    assert sum(share.steps for share in given) == steps
    assert sum(share.size for share in given if share.size and share.size > 1) <= size


def test_one_shot_has_everything() -> None:
    def distil(task: Task) -> Found:
        assert task.allowance == Allowance(200, 7, None, 9)
        return Found(0, NOTHING, 0.0)

    dose_shots([shot(2)], Allowance(200, 7, None, 9), distil)
