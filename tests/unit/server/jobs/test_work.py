import asyncio
from dataclasses import replace
from pathlib import Path

import pytest
import redis

from microdose import keys
from microdose.decoder import Decoder
from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.errors import Fenced, NoSpace, NotFound
from microdose.manifest import parse_manifest
from microdose.resources import DoseChoice, SequenceState
from microdose_client.bus import Bus
from microdose_server.codec.encode import Encoder
from microdose_server.jobs import outcome
from microdose_server.jobs.attempt import problem_from
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.work import encoder_for, process
from microdose_server.settings import Settings
from microdose_server.store.blobs import originals, public_blobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.fields import to_field
from microdose_server.store.sequences import Sequences
from tests.assigned import Give, begin
from tests.photos import encode, photo, two_shots
from tests.streams import job_events
from tests.tiny_encoder import TinyEncoder


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
    assert [entry.kind for entry in manifest.epochs] == [DoseKind.FULL] * 2
    assert 0 < manifest.bytes.dose <= 700


def test_without_doses_shots_are_no_matter(bus: redis.Redis, tmp_path: Path) -> None:
    given = begin(bus, Settings(data_dir=tmp_path), two_shots(), dose=DoseChoice.NONE)
    process(given, TinyEncoder())
    manifest = parse_manifest(read_manifest(bus, given.attempt.sequence) or b"")
    assert [(entry.epoch, entry.kind) for entry in manifest.epochs] == [(0, DoseKind.NONE)]


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
