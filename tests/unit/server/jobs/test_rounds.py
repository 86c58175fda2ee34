"""Rounds of a live sequence: the publisher's caps, and doses that build on those before."""

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest

from microdose.dose import parse_dose
from microdose.ids import new_id
from microdose.resources import DoseChoice, Sequence, SequenceState
from microdose_server.codec.encode import Encoder
from microdose_server.distil.specialise import Progress
from microdose_server.jobs.distiller import Made, Next, Seen
from microdose_server.jobs.rounds import rounds
from microdose_server.settings import Settings
from tests.photos import photo

GENERIC = Next(1, {None: ()}, ())
Round = Callable[..., Made]


@pytest.fixture
def round(tiny_encoder: Encoder) -> Round:
    """One round on two pictures, with these wishes."""

    def make(
        following: Next = GENERIC, told: list[Progress] | None = None, steps: int = 12, **wishes: Any
    ) -> Made:
        wish = Sequence(
            **{"dose": DoseChoice.FULL, "lmbda": 1e-6, **wishes},
            id=new_id(),
            profile="standard",
            state=SequenceState.RUNNING,
            created=datetime.now(UTC),
        )
        pictures = [Seen(tiny_encoder.analyse(photo(n))[1], 64, 96) for n in range(2)]
        distil = rounds(Settings(distil_steps=steps), wish, tiny_encoder)
        return distil(pictures, following, (told if told is not None else []).append)

    return make


def test_a_dose_leaves_less_than_viewers_have(round: Round, tiny_encoder: Encoder) -> None:
    made = round()
    assert made.parent is None
    assert made.left == pytest.approx(made.dosed.loss_after / made.dosed.loss_before)
    assert made.left < 1
    assert parse_dose(made.dosed.dose or b"", tiny_encoder.base).epoch == 1


def test_no_dose_is_over_the_cap_on_bytes(round: Round) -> None:
    free, capped = round(), round(dose_bytes=300)
    assert len(free.dosed.dose or b"") > 300
    assert 0 < len(capped.dosed.dose or b"") <= 300


def test_no_dose_takes_longer_than_the_cap_on_seconds(round: Round) -> None:
    told: list[Progress] = []
    round(told=told, steps=10**9, dose_seconds=1e-9)
    assert not told


def test_a_round_starts_from_the_nearest_dose(round: Round, tiny_encoder: Encoder) -> None:
    first = round().dosed.dose
    assert first is not None
    made = round(Next(2, {None: (), 1: (first,)}, (first,)), dose=DoseChoice.GAINS)
    assert made.parent == 1
    assert parse_dose(made.dosed.dose or b"", tiny_encoder.base).parent != b""
    assert made.left < 1


def test_what_is_left_is_of_what_viewers_have(round: Round) -> None:
    """Where the dose that they have may be no parent, a new one begins, but has to be better than that."""
    first = round(steps=40).dosed.dose
    assert first is not None
    made = round(Next(2, {None: ()}, (first,)), steps=4, dose=DoseChoice.GAINS)
    assert made.parent is None
    assert made.left > made.dosed.loss_after / made.dosed.loss_before
