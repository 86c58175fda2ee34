"""What the doses of a job bring the student towards."""

import math
from pathlib import Path

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from microdose.errors import NotFound
from microdose.resources import DoseAim, DoseChoice, SequenceState
from microdose_server.codec.coder import Latents
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.encode import Encoder, Painted
from microdose_server.codec.shipped import load_discriminator, save_discriminator, save_teacher
from microdose_server.distil.nearest import distances
from microdose_server.distil.overfit import OverfitRecipe
from microdose_server.distil.tiles import Target
from microdose_server.jobs import work
from microdose_server.jobs.work import process, recipe_for
from microdose_server.settings import Settings
from microdose_server.store.sequences import Sequences
from tests.assigned import begin
from tests.photos import Pixels, photo
from tests.streams import job_events
from tests.tiny_encoder import TinyEncoder


@pytest.mark.parametrize("aim", DoseAim)
def test_doses_aim_where_the_publisher_says(bus: redis.Redis, tmp_path: Path, aim: DoseAim) -> None:
    given, encoder = begin(bus, Settings(data_dir=tmp_path), [photo(0)], aim=aim), TinyEncoder()
    wish = Sequences(bus).get(given.attempt.sequence)
    (made,), (again,) = (  # encoded, and then found as it was kept
        list(work.encode(given, wish, encoder, tmp_path)) for _ in range(2)
    )
    assert encoder.encoded == 1
    wanted = photo(0) if aim is DoseAim.ORIGINALS else np.full_like(photo(0), 128)
    for target in (made.target, again.target):
        assert np.array_equal(target.pixels, wanted)
        assert (target.tower is None) is (aim is DoseAim.ORIGINALS)
    assert np.array_equal(np.asarray(made.target.tower), np.asarray(again.target.tower))


class Watched:
    """A teacher that notes how many pictures it was asked to paint."""

    def __init__(self, encoder: Encoder) -> None:
        self.base, self.painted = encoder.base, 0
        self._encoder = encoder

    def latents(self, pixels: Pixels) -> Latents:
        return self._encoder.latents(pixels)

    def analyse(self, pixels: Pixels, epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        return self._encoder.analyse(pixels, epoch)

    def paint(self, y_hat: NDArray[np.float32], height: int, width: int) -> Painted:
        self.painted += 1
        return self._encoder.paint(y_hat, height, width)


@pytest.mark.parametrize("aim", DoseAim)
def test_a_job_reports_how_far_it_is_from_what_it_aims_at(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder, aim: DoseAim
) -> None:
    settings = Settings(data_dir=tmp_path, distil_steps=4)
    given = begin(bus, settings, [photo(0)], dose=DoseChoice.GAINS, aim=aim)
    encoder = Watched(tiny_encoder)
    process(given, encoder)
    made = tiny_encoder.encode(photo(0))
    towards = {DoseAim.ORIGINALS: photo(0), DoseAim.TEACHER: made.x_hat}
    begun = {
        at: distances(tiny_encoder.base, [Target(made.y_hat, pixels)], [()])[0]
        for at, pixels in towards.items()
    }
    told = [event.job for event in job_events(bus, given.attempt.job) if event.job.step == 1]
    (first,) = [job for job in told if job.phase == "distil"]
    assert first.loss == pytest.approx(begun[aim], rel=0.15)  # with features, where there are any
    assert begun[DoseAim.ORIGINALS] > 2 * begun[DoseAim.TEACHER]
    assert encoder.painted == (0 if aim is DoseAim.ORIGINALS else 1)


def test_a_dose_heeds_the_teachers_discriminator(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    """From its file to the loss of the first step, which is of the same tile with and without."""
    critic = Discriminator(tiny_encoder.teacher.preset.latent_channels)
    save_teacher("tiny", tiny_encoder.teacher.state_dict(), tmp_path / "weights")
    save_discriminator("tiny", critic.state_dict(), tmp_path / "weights")
    heeding = OverfitRecipe(beta=0.5, discriminator=load_discriminator(tmp_path / "weights"))
    losses = []
    for recipe in (OverfitRecipe(), heeding):
        settings = Settings(data_dir=tmp_path, distil_steps=4)
        given = begin(bus, settings, [photo(0)], dose=DoseChoice.GAINS)
        process(given, tiny_encoder, recipe)
        told = [event.job for event in job_events(bus, given.attempt.job) if event.job.step == 1]
        losses += [job.loss or 0.0 for job in told if job.phase == "distil"]
        assert Sequences(bus).get(given.attempt.sequence).state is SequenceState.PUBLISHED
    assert losses[1] - losses[0] == pytest.approx(0.5 * math.log(2.0), rel=0.5)  # it has learnt nothing yet


def test_a_worker_without_beta_needs_no_discriminator() -> None:
    assert recipe_for(Settings()).beta == 0.0
    with pytest.raises(NotFound, match="discriminator"):
        recipe_for(Settings(distil_beta=0.1))  # the shipped teacher is of stage 1


def test_without_a_dose_nothing_is_painted(bus: redis.Redis, tmp_path: Path) -> None:
    encoder = TinyEncoder()
    wishes = {"dose": DoseChoice.NONE, "aim": DoseAim.TEACHER}
    process(begin(bus, Settings(data_dir=tmp_path), [photo(0)], **wishes), encoder)
    assert (encoder.encoded, encoder.painted) == (1, 0)
