import asyncio
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import redis
from numpy.typing import NDArray

from microdose import keys
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.errors import Fenced, NoSpace, NotFound
from microdose.manifest import parse_manifest
from microdose.resources import DoseAim, DoseChoice, Frame, SequenceCreate, SequenceState
from microdose_client.bus import Bus
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.encode import Encoder, Painted
from microdose_server.codec.shipped import load_discriminator, save_discriminator
from microdose_server.distil.nearest import distances
from microdose_server.distil.overfit import OverfitRecipe
from microdose_server.distil.tiles import Target
from microdose_server.jobs import outcome, work
from microdose_server.jobs.attempt import Assignment, problem_from
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.work import encoder_for, process, recipe_for
from microdose_server.settings import Settings
from microdose_server.store.blobs import checkpoints, originals, public_blobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.drafts import read_checkpoint, read_drafts, write_checkpoint
from microdose_server.store.fields import to_field
from microdose_server.store.named import named_by_checkpoints, named_by_drafts
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo, two_shots
from tests.streams import job_events
from tests.tiny_encoder import TinyEncoder

Give = Callable[[], Assignment]


def begin(client: redis.Redis, settings: Settings, pictures: Sequence[Pixels], **wishes: Any) -> Assignment:
    """Begin a job on these pictures."""
    sequence = Sequences(client).create(SequenceCreate(**wishes)).id
    for n, pixels in enumerate(pictures):
        data = encode(pixels)
        digest = originals(settings.data_dir).put(data)
        frame = Frame(n=n, digest=digest, size=len(data), width=96, height=64, name=f"{n}.png")
        Sequences(client).put_frame(sequence, frame, settings.limits)
    begun = outcome.begin(client, JobQueue(client).enqueue(sequence))
    assert begun is not None
    job, attempt = begun
    return Assignment(client, settings, attempt, Reporter(Jobs(client), job, attempt.token, every_s=0))


@pytest.fixture
def give(bus: redis.Redis, tmp_path: Path) -> Give:
    """Begin a job on two photographs, without a dose."""

    def make() -> Assignment:
        pictures = [photo(0), photo(1)]
        return begin(bus, Settings(data_dir=tmp_path), pictures, name="photos", dose=DoseChoice.NONE)

    return make


def test_a_profile_that_the_worker_has_no_base_for_fails_its_job(bus: redis.Redis, give: Give) -> None:
    given = give()
    bus.hset(keys.sequence(given.attempt.sequence), "profile", to_field("huge"))
    with pytest.raises(NotFound, match=r"no base of a student 'huge' \(there: .*standard"):
        encoder_for(given)


def test_a_job_turns_pictures_into_what_viewers_decode(bus: redis.Redis, give: Give, tmp_path: Path) -> None:
    given = give()
    process(given, TinyEncoder())
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert [entry.name for entry in manifest.segments] == ["0.png", "1.png"]
    decoder = Decoder(TinyEncoder().base, threads=1)
    for entry in manifest.segments:
        segment = public_blobs(tmp_path).get(entry.blob.digest)
        assert asyncio.run(Bus(bus).blob(entry.blob)) == segment
        assert decoder.decode(segment).pixels.shape == (entry.height, entry.width, 3)


def test_every_blob_of_the_manifest_is_on_disk(bus: redis.Redis, give: Give, tmp_path: Path) -> None:
    given = give()
    process(given, TinyEncoder())
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    base = TinyEncoder().base.document
    for descriptor in (*manifest.descriptors(), base.student, base.hyper):
        assert public_blobs(tmp_path).size(descriptor.digest) == descriptor.size


def test_results_and_progress_are_recorded(bus: redis.Redis, give: Give) -> None:
    given = give()
    process(given, TinyEncoder())
    sequence = Sequences(bus).get(given.attempt.sequence)
    assert sequence.state == SequenceState.PUBLISHED
    assert sequence.results is not None
    assert (sequence.results.pictures, sequence.results.pixels) == (2, 2 * 96 * 64)
    assert set(sequence.results.seconds) == {"encode", "distil", "verify", "publish"}
    phases = [event.job.phase for event in job_events(bus, given.attempt.job)]
    assert list(dict.fromkeys(phases))[1:] == ["load", "encode", "distil", "verify", "publish"]


def test_each_shot_has_its_own_epoch(bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder) -> None:
    given = begin(bus, Settings(data_dir=tmp_path, distil_steps=26), two_shots(), dose=DoseChoice.GAINS)
    process(given, tiny_encoder)
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert [(entry.kind, entry.first) for entry in manifest.epochs] == [
        (DoseKind.GAINS, 0),
        (DoseKind.GAINS, 14),
    ]
    assert [entry.epoch for entry in manifest.segments] == [0] * 14 + [1] * 12
    for entry in manifest.segments:
        doses = [public_blobs(tmp_path).get(dose.digest) for dose in manifest.doses(entry.epoch)]
        segment = public_blobs(tmp_path).get(entry.blob.digest)
        assert Decoder(tiny_encoder.base, *doses, threads=1).decode(segment).pixels.shape == (64, 96, 3)
    told = [event.job for event in job_events(bus, given.attempt.job) if event.job.phase == "distil"]
    assert max(job.step for job in told) == 26
    assert {job.steps for job in told} == {26}


def test_all_doses_together_obey_the_cap_on_bytes(
    bus: redis.Redis, tmp_path: Path, tiny_encoder: Encoder
) -> None:
    settings = Settings(data_dir=tmp_path, distil_steps=26)
    given = begin(bus, settings, two_shots(), dose=DoseChoice.FULL, dose_bytes=700)
    process(given, tiny_encoder)
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert manifest.bytes.dose <= 700


def test_without_doses_shots_are_no_matter(bus: redis.Redis, tmp_path: Path) -> None:
    given = begin(bus, Settings(data_dir=tmp_path), two_shots(), dose=DoseChoice.NONE)
    process(given, TinyEncoder())
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert [(entry.epoch, entry.kind) for entry in manifest.epochs] == [(0, DoseKind.NONE)]


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


def test_a_job_without_room_on_the_disk_fails_and_can_be_done_again(
    bus: redis.Redis, give: Give, tmp_path: Path
) -> None:
    given, sequence = give(), Sequences(bus)
    with pytest.raises(NoSpace, match="MICRODOSE_RESERVE_BYTES") as caught:
        process(replace(given, settings=Settings(data_dir=tmp_path, reserve_bytes=2**60)), TinyEncoder())
    assert list(tmp_path.glob("targets-*")) == []
    outcome.fail(bus, given.attempt, problem_from(caught.value))
    failed = sequence.get(given.attempt.sequence)
    assert (failed.state, failed.error and failed.error.slug) == (SequenceState.FAILED, "no-space")
    begun = outcome.begin(bus, JobQueue(bus).enqueue(failed.id))
    assert begun is not None
    job, attempt = begun
    process(replace(given, attempt=attempt, report=Reporter(Jobs(bus), job, attempt.token)), TinyEncoder())
    assert sequence.get(failed.id).state is SequenceState.PUBLISHED


def test_originals_are_never_published(give: Give, tmp_path: Path) -> None:
    process(give(), TinyEncoder())
    for n in range(2):
        assert not public_blobs(tmp_path).path(digest_of(encode(photo(n)))).exists()


def test_a_cancelled_job_stops_without_publishing(bus: redis.Redis, give: Give) -> None:
    given = give()
    outcome.cancel(bus, given.attempt.job)
    with pytest.raises(Fenced):
        process(given, TinyEncoder())
    assert read_manifest(bus, given.attempt.sequence) is None


def test_a_missing_original_is_named(bus: redis.Redis, give: Give, tmp_path: Path) -> None:
    given = give()
    frame = Sequences(bus).frames(given.attempt.sequence)[1]
    originals(tmp_path).path(frame.digest).unlink()
    with pytest.raises(NotFound, match=frame.digest):
        process(given, TinyEncoder())


class Dying(TinyEncoder):
    """Dies at its second picture."""

    def analyse(self, pixels: Pixels, epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        if self.encoded:
            raise KeyboardInterrupt
        return super().analyse(pixels, epoch)


def again(given: Assignment) -> Assignment:
    """The next attempt at the same job."""
    begun = outcome.begin(given.client, Jobs(given.client).get(given.attempt.job))
    assert begun is not None
    job, attempt = begun
    report = Reporter(Jobs(given.client), job, attempt.token, every_s=0)
    return Assignment(given.client, given.settings, attempt, report)


def test_what_was_encoded_before_the_process_died_is_not_encoded_again(bus: redis.Redis, give: Give) -> None:
    given, encoder = give(), TinyEncoder()
    with pytest.raises(KeyboardInterrupt):
        process(given, Dying())
    assert set(read_drafts(bus, given.attempt.sequence)) == {0}
    process(again(given), encoder)
    assert encoder.encoded == 1
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert len(manifest.segments) == 2
    assert read_drafts(bus, given.attempt.sequence) == {}


@pytest.mark.parametrize("harm", ["blob gone", "blob damaged", "other base", "other frame"])
def test_a_draft_that_is_of_no_use_is_made_again(
    bus: redis.Redis, give: Give, tmp_path: Path, harm: str
) -> None:
    given, encoder = give(), TinyEncoder()
    with pytest.raises(KeyboardInterrupt):
        process(given, Dying())
    sequence = given.attempt.sequence
    draft = read_drafts(bus, sequence)[0]
    if harm == "blob gone":
        originals(tmp_path).path(draft.segment).unlink()
    elif harm == "blob damaged":
        originals(tmp_path).path(draft.segment).write_bytes(b"damaged")
    else:
        changed = {harm.split()[1]: digest_of(b"another")}
        bus.hset(keys.drafts(sequence), "0", draft.model_copy(update=changed).model_dump_json())
    process(again(given), encoder)
    assert encoder.encoded == 2


def test_drafts_stay_while_a_job_may_need_them(give: Give) -> None:
    given = give()
    with pytest.raises(KeyboardInterrupt):
        process(given, Dying())
    draft = read_drafts(given.client, given.attempt.sequence)[0]
    assert named_by_drafts(given.client) == {draft.segment}
    process(again(given), TinyEncoder())
    assert named_by_drafts(given.client) == set()


def test_what_was_kept_of_a_job_goes_with_its_end(bus: redis.Redis, give: Give, tmp_path: Path) -> None:
    published, cancelled = give(), give()
    store = checkpoints(tmp_path)
    for given, encoder in ((published, Dying()), (cancelled, Dying())):
        with pytest.raises(KeyboardInterrupt):
            process(given, encoder)
        write_checkpoint(bus, given.attempt, store.put(given.attempt.sequence.encode()))
    assert named_by_checkpoints(bus) == set(store.digests())
    outcome.cancel(bus, cancelled.attempt.job)
    assert named_by_checkpoints(bus) == {read_checkpoint(bus, published.attempt.sequence)}
    process(again(published), TinyEncoder())
    assert named_by_checkpoints(bus) == named_by_drafts(bus) == set()
    assert not bus.exists(keys.drafts(published.attempt.sequence))
    assert not bus.exists(keys.checkpoints(published.attempt.sequence))
