"""Garbage collection over a real API, a real Redis and real files: what goes, and what must never go."""

import os
import re
import threading
import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from microdose import keys
from microdose.base import LoadedBase
from microdose.digest import digest_of
from microdose.errors import CorruptStream, NotFound
from microdose.manifest import Manifest
from microdose.resources import JobState
from microdose_client import Client
from microdose_server.jobs import outcome
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.retention import forget_jobs
from microdose_server.maintenance import Collected, collect
from microdose_server.store.blobs import BlobStore, checkpoints, originals, public_blobs
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import Draft, write_checkpoint, write_draft
from tests.broadcast import Broadcast
from tests.photos import encode, photo
from tests.programs import run
from tests.served import Served
from tests.tiny_base import tiny_base, tiny_sequence

YEAR_S = 365 * 86_400


def pass_time(served: Served) -> None:
    """Make all that is kept, and what the last collection noted, a year older."""
    for path in served.settings.data_dir.rglob("*"):
        if path.is_file():
            old = path.stat().st_mtime - YEAR_S
            os.utime(path, (old, old))
    state = served.settings.data_dir / "gc.json"
    if state.exists():
        for when in set(re.findall(r"\d{9,}\.\d+", state.read_text())):
            state.write_text(state.read_text().replace(when, str(float(when) - YEAR_S)))


def collected(served: Served) -> Collected:
    """Two collections with the grace time between them."""
    pass_time(served)
    collect(served.settings, served.bus)
    pass_time(served)
    done = collect(served.settings, served.bus)
    assert done is not None
    return done


def assert_whole(served: Served, manifest: Manifest) -> None:
    """Every blob of a published sequence can be fetched."""
    names = {segment.blob.digest for segment in manifest.segments} | {manifest.base.digest}
    names |= {epoch.dose.digest for epoch in manifest.epochs if epoch.dose}
    names |= set(tiny_sequence(1).blobs) - names
    for digest in names:
        assert served.http.get(f"/v1/blobs/{digest}").status_code == 200


def test_originals_go_when_they_are_replaced_deleted_or_published(served: Served) -> None:
    keeping, gone, done = served.create(), served.create(), served.queued()
    served.put(keeping, 0, encode(photo(1)))
    served.put(keeping, 0, encode(photo(2)))
    served.put(gone, 0, encode(photo(3)))
    served.http.delete(f"/v1/sequences/{gone}")
    manifest = served.publish(done)
    assert len(served.originals()) == 3
    assert collected(served).originals == 2
    assert [path.read_bytes() for path in served.originals()] == [encode(photo(2))]
    assert_whole(served, manifest)


def test_an_open_sequence_that_was_given_up_goes_with_its_originals(served: Served) -> None:
    given_up, _ = served.create(), served.queued()
    served.put(given_up, 0)
    at_once = served.settings.model_copy(update={"keep_open_s": 0})
    assert collect(served.settings, served.bus) == Collected()
    assert collect(at_once, served.bus) == Collected(sequences=1)
    assert served.http.get(f"/v1/sequences/{given_up}").status_code == 404
    pass_time(served)
    collect(served.settings, served.bus)
    assert served.originals() == []


def test_blobs_of_a_deleted_sequence_go_and_shared_ones_stay(served: Served) -> None:
    first, second = served.queued(), served.queued()
    short, long = served.publish(first, 1), served.publish(second, 3)
    unnamed = public_blobs(served.settings.data_dir).put(b"of a job that was cut off")
    served.http.delete(f"/v1/sequences/{long.sequence}")
    done = collected(served)
    assert done.blobs >= 1
    assert served.http.get(f"/v1/blobs/{unnamed}").status_code == 404
    assert_whole(served, short)


@pytest.fixture
def broadcasts(served: Served) -> list[Broadcast]:
    """Two sequences for each of two bases, with three doses that build on each other; the manifest lists a
    picture of the last alone.
    """
    blobs = public_blobs(served.settings.data_dir)
    found = [Broadcast(served.bus, blobs, window=1, base=tiny_base(seed)) for seed in (0, 1, 1, 0)]
    for n, each in enumerate(found):
        for parent in (None, 0, 1):
            each.epoch(parent=parent)
            for _ in range(n + 1):
                each.picture()
    return found


def needs(broadcast: Broadcast) -> set[str]:
    """The digests of all that a viewer of a sequence fetches."""
    base, manifest = broadcast.base, broadcast.manifest
    chain = {digest_of(dose) for doses in broadcast.doses.values() for dose in doses}
    return chain | {descriptor.digest for descriptor in manifest.descriptors()} | set(base_digests(base))


def base_digests(base: LoadedBase) -> tuple[str, ...]:
    return base.digest, digest_of(base.student), digest_of(base.hyper)


def test_chains_of_doses_over_several_bases_stay_whole(
    served: Served, broadcasts: list[Broadcast], tmp_path: Path
) -> None:
    key = served.http.headers["authorization"].removeprefix("Bearer ")
    blobs, there = public_blobs(served.settings.data_dir), list(broadcasts)
    assert {segment.epoch for each in there for segment in each.manifest.segments} == {2}
    while there:
        assert collected(served).blobs > 0  # pictures that have left their window, or a sequence that is gone
        assert set(blobs.digests()) == set().union(*map(needs, there))
        for each in there:
            last = len(each.segments) - 1
            cache = tmp_path / f"{each.sequence} of {len(there)}"
            with Client(served.url, key=key, cache_dir=cache) as client:
                (picture,) = client.pictures(each.sequence, threads=1)
            assert picture.n == last
            assert np.array_equal(picture.pixels, each.expected(last))
        served.http.delete(f"/v1/sequences/{there.pop(0).sequence}")


def test_nothing_young_goes(served: Served) -> None:
    manifest = served.publish(served.queued())
    served.http.delete(f"/v1/sequences/{manifest.sequence}")
    served.create()
    for _ in range(2):
        assert collect(served.settings, served.bus) == Collected()
    assert_whole(served, manifest)


def test_an_empty_redis_is_taken_for_a_wrong_one(served: Served) -> None:
    manifest = served.publish(served.queued())
    served.bus.delete(keys.sequences())
    assert collected(served) == Collected()
    assert_whole(served, manifest)


def test_what_cannot_be_read_stops_the_collection(served: Served) -> None:
    manifest = served.publish(served.queued())
    unnamed = public_blobs(served.settings.data_dir).put(b"unnamed")
    served.bus.set(keys.manifest(manifest.sequence), b"{}")
    pass_time(served)
    with pytest.raises(CorruptStream):
        collect(served.settings, served.bus)
    assert unnamed in public_blobs(served.settings.data_dir).digests()


def test_a_base_that_is_gone_stops_the_collection(served: Served) -> None:
    manifest = served.publish(served.queued())
    public_blobs(served.settings.data_dir).path(manifest.base.digest).unlink()
    with pytest.raises(NotFound):
        collect(served.settings, served.bus)


def test_it_is_not_done_again_before_its_time_nor_twice_at_once(served: Served) -> None:
    served.create()
    assert collect(served.settings, served.bus, every_s=3600) == Collected()
    assert collect(served.settings, served.bus, every_s=3600) is None
    (served.settings.data_dir / "gc.json").write_text("cut o")
    assert collect(served.settings, served.bus, every_s=3600) == Collected()


def test_a_publication_meanwhile_keeps_all_its_blobs(served: Served) -> None:
    """One thread publishes and deletes, the other collects with no grace but that of `put`."""
    settings = served.settings.model_copy(update={"gc_grace_s": 3})
    served.create()
    ended = threading.Event()

    def collect_all_the_time() -> None:
        while not ended.is_set():
            collect(settings, served.bus)

    collector = threading.Thread(target=collect_all_the_time)
    collector.start()
    try:
        until = time.monotonic() + 7
        while time.monotonic() < until:
            manifest = served.publish(served.queued())
            assert_whole(served, manifest)
            served.http.delete(f"/v1/sequences/{manifest.sequence}")
    finally:
        ended.set()
        collector.join()


def test_records_of_jobs_go_after_their_time(served: Served) -> None:
    replaced, present, running = served.queued(), served.queued(), served.queued()
    for job in (replaced, present):
        outcome.cancel(served.bus, job.id)
    served.begin(running)
    served.http.delete(f"/v1/sequences/{replaced.sequence}")
    assert forget_jobs(served.bus, datetime.now(UTC) - timedelta(hours=1)) == 0
    assert forget_jobs(served.bus, datetime.now(UTC) + timedelta(hours=1)) == 1
    assert {job.id for job in Jobs(served.bus).page().items} == {present.id, running.id}
    assert not served.bus.exists(keys.job(replaced.id), keys.job_events(replaced.id))
    assert served.bus.xlen(keys.job_events(present.id)) == 1
    assert f'"{JobState.CANCELLED}"' in served.http.get(f"/v1/jobs/{present.id}/events").text


def test_gc_is_a_command(served: Served) -> None:
    served.create()
    arguments = ("gc", "--redis", str(served.settings.redis_url), "--data-dir", str(served.settings.data_dir))
    done = run(*arguments, "--json")
    assert done.returncode == 0, done.stderr
    assert '"blobs": 0' in done.stdout
    assert "removed 0 blobs" in run(*arguments).stdout


def keep_work(served: Served, attempt: Attempt) -> set[str]:
    """A draft and a checkpoint of a job; returns their files' digests."""
    kept, name = originals(served.settings.data_dir), attempt.sequence.encode()
    segment = kept.put(b"segment" + name)
    write_draft(served.bus, attempt, 0, Draft(frame=segment, base=segment, segment=segment))
    checkpoint = checkpoints(served.settings.data_dir).put(name)
    write_checkpoint(served.bus, attempt, checkpoint)
    return {segment, checkpoint}


def test_what_jobs_keep_goes_once_they_have_ended_or_are_gone(served: Served) -> None:
    running, cancelled, removed, lost = (served.queued() for _ in range(4))
    work = {job.id: keep_work(served, served.begin(job)[1]) for job in (running, cancelled, removed, lost)}
    outcome.cancel(served.bus, cancelled.id)
    served.http.delete(f"/v1/sequences/{removed.sequence}")
    served.begin(lost)
    done = collected(served)
    assert (done.originals, done.checkpoints) == (2, 2)
    stores = originals(served.settings.data_dir), checkpoints(served.settings.data_dir)
    assert {digest for store in stores for digest in store.digests()} == work[running.id] | work[lost.id]
    served.publish(running)
    assert collected(served).checkpoints == 1


def test_folders_of_dead_jobs_go(served: Served) -> None:
    folder = served.settings.data_dir / "targets-left"
    folder.mkdir()
    (folder / "large").write_bytes(b"x")
    assert collect(served.settings, served.bus) == Collected()
    os.utime(folder, (0, 0))
    assert collect(served.settings, served.bus) == Collected(folders=1)
    assert not folder.exists()


def test_stores_are_swept_apart(served: Served) -> None:
    """The same bytes may be an original and a public blob."""
    data = encode(photo(5))
    sequence = served.create()
    served.put(sequence, 0, data)
    digest = public_blobs(served.settings.data_dir).put(data)
    collected(served)
    stores: list[BlobStore] = [originals(served.settings.data_dir), public_blobs(served.settings.data_dir)]
    assert [digest in store.digests() for store in stores] == [True, False]
