"""Rounds of a live sequence: the publisher's caps, doses that build on those before, and what is taken up."""

from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime
from typing import Any

import pytest

from microdose.digest import digest_of
from microdose.dose import parse_dose
from microdose.ids import new_id
from microdose.resources import DoseChoice, Sequence, SequenceState
from microdose_server.codec.encode import Encoder
from microdose_server.distil.checkpoint import pack_checkpoint
from microdose_server.distil.specialise import Progress
from microdose_server.jobs.distiller import Made, Next, Seen
from microdose_server.jobs.rounds import Rounds, unfinished
from microdose_server.settings import Settings
from tests.kept import Kept
from tests.photos import photo

GENERIC = Next(1, {None: ()}, ())
Round = Callable[..., Made]


@pytest.fixture
def round(tiny_encoder: Encoder) -> Round:
    """One round on two pictures, with these wishes."""

    def make(
        following: Next = GENERIC,
        report: Callable[[Progress], None] = lambda progress: None,
        steps: int = 12,
        keeper: Kept | None = None,
        **wishes: Any,
    ) -> Made:
        wish = Sequence(
            **{"dose": DoseChoice.FULL, "lmbda": 1e-6, **wishes},
            id=new_id(),
            profile="standard",
            state=SequenceState.RUNNING,
            created=datetime.now(UTC),
        )
        coded = [tiny_encoder.analyse(photo(n)) for n in range(2)]
        pictures = [Seen(digest_of(segment), y_hat, 64, 96) for segment, y_hat in coded]
        keeper = keeper or Kept()
        distil = Rounds(Settings(distil_steps=steps), wish, tiny_encoder, keeper, keeper.load())
        return distil(pictures, following, report)

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
    round(report=told.append, steps=10**9, dose_seconds=1e-9)
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


class Told:
    """Notes every step, and dies at one of them."""

    def __init__(self, last: int = 0) -> None:
        self.steps: list[int] = []
        self._last = last

    def __call__(self, progress: Progress) -> None:
        self.steps.append(progress.step)
        if progress.step == self._last:
            raise KeyboardInterrupt


def test_another_attempt_goes_on_with_the_same_round(round: Round, tiny_encoder: Encoder) -> None:
    keeper, again = Kept(), Told()
    with suppress(KeyboardInterrupt):
        round(report=Told(last=9), keeper=keeper)
    segments = [digest_of(tiny_encoder.analyse(photo(n))[0]) for n in range(2)]
    assert unfinished(keeper.load(), epoch=1) == segments
    assert unfinished(keeper.load(), epoch=2) == []
    assert round(report=again, keeper=keeper).dosed.dose is not None
    assert again.steps[0] > 1


def test_another_round_begins_anew(round: Round) -> None:
    keeper, told = Kept(), Told()
    round(keeper=keeper)
    round(Next(2, {None: ()}, ()), told, keeper=keeper)
    assert told.steps[0] == 1


OLDER = pack_checkpoint({}, {"epoch": 1, "segments": ["sha256:0"]})


@pytest.mark.parametrize("data", [None, b"", b"no checkpoint", pack_checkpoint({}, {"done": []}), OLDER])
def test_what_is_no_round_is_none(data: bytes | None) -> None:
    assert unfinished(data, epoch=1) == []
