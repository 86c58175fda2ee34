"""Rounds of a live sequence: the publisher's caps, doses that build on those before, and what is taken up."""

from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.digest import digest_of
from microdose.dose import parse_dose
from microdose.ids import new_id
from microdose.resources import DoseAim, DoseChoice, Sequence, SequenceState
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.encode import Encoder
from microdose_server.distil.checkpoint import pack_checkpoint
from microdose_server.distil.nearest import distances
from microdose_server.distil.specialise import OverfitRecipe, Progress
from microdose_server.distil.tiles import Target
from microdose_server.jobs.distiller import Digests, Made, Next, Seen
from microdose_server.jobs.rounds import Rounds, unfinished
from microdose_server.settings import Settings
from microdose_server.store.blobs import originals
from tests.kept import Kept
from tests.photos import encode, photo

GENERIC = Next(1, {None: ()}, ())
Round = Callable[..., Made]


ORIGINALS = [encode(photo(n)) for n in range(2)]


@dataclass
class Watched:
    """A teacher that notes how many pictures it was asked to paint."""

    encoder: Encoder
    painted: int = 0

    @property
    def base(self) -> LoadedBase:
        return self.encoder.base

    def decode(self, y_hat: NDArray[np.float32], height: int, width: int) -> NDArray[np.uint8]:
        self.painted += 1
        return self.encoder.decode(y_hat, height, width)


@pytest.fixture
def teacher(tiny_encoder: Encoder) -> Watched:
    return Watched(tiny_encoder)


@pytest.fixture
def round(tiny_encoder: Encoder, teacher: Watched, tmp_path: Path) -> Round:
    """One round on two pictures, with these wishes; of the originals, `gone` are not there any more.

    `shown`: how many pictures the shot has.
    """

    def make(
        following: Next = GENERIC,
        report: Callable[[Progress], None] = lambda progress: None,
        steps: int = 12,
        seconds: float = 60.0,
        keeper: Kept | None = None,
        recipe: OverfitRecipe | None = None,
        gone: tuple[int, ...] = (),
        shown: int = 2,
        **wishes: Any,
    ) -> Made:
        wish = Sequence(
            **{"dose": DoseChoice.FULL, "lmbda": 1e-6, **wishes},
            id=new_id(),
            profile="standard",
            state=SequenceState.RUNNING,
            created=datetime.now(UTC),
        )
        shelf = originals(tmp_path)
        for n, data in enumerate(ORIGINALS):
            digest = shelf.put(data)
            if n in gone:
                shelf.discard(digest)
        coded = [tiny_encoder.analyse(photo(n)) for n in range(2)]
        pictures = [
            Seen(digests, y_hat, 64, 96)
            for digests, (_, y_hat) in zip(digests_of(tiny_encoder), coded, strict=True)
        ]
        keeper = keeper or Kept()
        settings = Settings(data_dir=tmp_path, distil_steps=steps, live_dose_s=seconds)
        distil = Rounds(settings, wish, teacher, keeper, keeper.load(), recipe)
        return distil(pictures, shown, following, report)

    return make


def digests_of(encoder: Encoder) -> list[Digests]:
    """Where the two pictures are found again."""
    segments = [encoder.analyse(photo(n))[0] for n in range(2)]
    return [
        Digests(digest_of(segment), digest_of(data))
        for segment, data in zip(segments, ORIGINALS, strict=True)
    ]


@pytest.mark.parametrize("aim", DoseAim)
def test_a_dose_aims_where_the_publisher_says(
    round: Round, tiny_encoder: Encoder, teacher: Watched, aim: DoseAim
) -> None:
    made = round(aim=aim)
    coded = [tiny_encoder.encode(photo(n)) for n in range(2)]
    wanted = [photo(n) if aim is DoseAim.ORIGINALS else coded[n].x_hat for n in range(2)]
    targets = [Target(one.y_hat, pixels) for one, pixels in zip(coded, wanted, strict=True)]
    assert made.dosed.loss_before == pytest.approx(distances(tiny_encoder.base, targets, [()])[0])
    assert made.left < 1
    assert teacher.painted == (0 if aim is DoseAim.ORIGINALS else 2)


def test_a_round_heeds_the_teachers_discriminator(round: Round, tiny_encoder: Encoder) -> None:
    critic = Discriminator(tiny_encoder.teacher.preset.latent_channels)
    losses = []
    for recipe in (None, OverfitRecipe(beta=0.5, discriminator=critic)):
        told: list[Progress] = []
        round(report=told.append, steps=4, recipe=recipe)
        losses.append(told[0].loss)
    assert losses[1] > losses[0]


def test_an_original_that_is_gone_is_not_learned_from(
    round: Round, tiny_encoder: Encoder, caplog: pytest.LogCaptureFixture
) -> None:
    keeper = Kept()
    made = round(aim=DoseAim.ORIGINALS, gone=(0,), keeper=keeper)
    assert made.dosed.dose is not None
    assert unfinished(keeper.load(), epoch=1) == (digests_of(tiny_encoder)[1:], 2)
    assert f"a picture is not learned from: no blob {digest_of(ORIGINALS[0])}" in caplog.text


def test_without_any_original_there_is_no_dose(round: Round) -> None:
    assert round(aim=DoseAim.ORIGINALS, gone=(0, 1)).dosed.dose is None
    assert round(aim=DoseAim.TEACHER, gone=(0, 1)).dosed.dose is not None


def test_a_dose_leaves_less_than_viewers_have(round: Round, tiny_encoder: Encoder) -> None:
    made = round()
    assert made.parent is None
    assert made.left == pytest.approx(made.dosed.loss_after / made.dosed.loss_before)
    assert made.left < 1
    assert parse_dose(made.dosed.dose or b"", tiny_encoder.base).epoch == 1


def test_a_dose_pays_over_all_pictures_of_the_shot(round: Round) -> None:
    """Where it learns from a few of them, too."""
    short, long = (round(dose=DoseChoice.AUTO, lmbda=0.1, shown=shown).dosed for shown in (2, 2000))
    assert len(short.dose or b"") < len(long.dose or b"")


def test_no_dose_is_over_the_cap_on_bytes(round: Round) -> None:
    free, capped = round(), round(dose_bytes=300)
    assert len(free.dosed.dose or b"") > 300
    assert 0 < len(capped.dosed.dose or b"") <= 300


@pytest.mark.parametrize("cap", [{"dose_seconds": 1e-9}, {"seconds": 1e-9}], ids=["publisher", "server"])
def test_no_dose_takes_longer_than_the_caps_on_seconds(round: Round, cap: dict[str, float]) -> None:
    told: list[Progress] = []
    round(report=told.append, steps=10**9, **cap)
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


@pytest.mark.parametrize("aim", DoseAim)
def test_another_attempt_goes_on_with_the_same_round(
    round: Round, tiny_encoder: Encoder, aim: DoseAim
) -> None:
    keeper, again = Kept(), Told()
    with suppress(KeyboardInterrupt):
        round(report=Told(last=9), keeper=keeper, aim=aim)
    assert unfinished(keeper.load(), epoch=1) == (digests_of(tiny_encoder), 2)
    assert unfinished(keeper.load(), epoch=2) == ([], 0)
    assert round(report=again, keeper=keeper, aim=aim).dosed.dose is not None
    assert again.steps[0] > 1


def test_a_round_that_has_lost_a_picture_begins_anew(round: Round) -> None:
    keeper, again = Kept(), Told()
    with suppress(KeyboardInterrupt):
        round(report=Told(last=9), keeper=keeper, aim=DoseAim.ORIGINALS)
    round(report=again, keeper=keeper, aim=DoseAim.ORIGINALS, gone=(1,))
    assert again.steps[0] == 1


def test_another_round_begins_anew(round: Round) -> None:
    keeper, told = Kept(), Told()
    round(keeper=keeper)
    round(Next(2, {None: ()}, ()), told, keeper=keeper)
    assert told.steps[0] == 1


OLDER = pack_checkpoint({}, {"format": "round 2", "epoch": 1, "segments": ["sha256:0"]})


@pytest.mark.parametrize("data", [None, b"", b"no checkpoint", pack_checkpoint({}, {"done": []}), OLDER])
def test_what_is_no_round_is_none(data: bytes | None) -> None:
    assert unfinished(data, epoch=1) == ([], 0)
