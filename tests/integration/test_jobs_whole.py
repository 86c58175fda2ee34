"""One whole job with the shipped teacher: pictures in, and what a thin client needs out."""

from pathlib import Path

import numpy as np
import pytest
import redis

from microdose.base import Descriptor, load_base
from microdose.decoder import Decoder
from microdose.manifest import Manifest, parse_manifest
from microdose.resources import DoseAim, DoseChoice, Frame, Job, JobState, SequenceCreate
from microdose_server.jobs.queue import JobQueue
from microdose_server.settings import Limits
from microdose_server.store.blobs import BlobStore, originals, public_blobs
from microdose_server.store.bus import read_manifest
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo
from tests.streams import job_events
from tests.workers import StartWorker, finish

WIDTH, HEIGHT = 104, 72
STEPS = 5


def enqueue_photos(client: redis.Redis, data_dir: Path, dose: DoseChoice, aim: DoseAim) -> Job:
    sequence = Sequences(client).create(SequenceCreate(name="china", dose=dose, aim=aim)).id
    for n in range(2):
        data = encode(photo(n, WIDTH, HEIGHT))
        digest = originals(data_dir).put(data)
        frame = Frame(n=n, digest=digest, size=len(data), width=WIDTH, height=HEIGHT, name=f"{n}.png")
        Sequences(client).put_frame(sequence, frame, Limits())
    return JobQueue(client).enqueue(sequence)


def decode(manifest: Manifest, blobs: BlobStore) -> list[Pixels]:
    """As a thin client does: everything from digests in the manifest."""

    def fetch(descriptor: Descriptor) -> bytes:
        return blobs.get(descriptor.digest)

    base = load_base(fetch(manifest.base), fetch)
    decoder = Decoder(base, *map(fetch, manifest.doses(0)))
    return [decoder.decode(fetch(entry.blob)).pixels for entry in manifest.segments]


def psnr(one: Pixels, other: Pixels) -> float:
    return float(10 * np.log10(255**2 / np.mean((one.astype(np.float64) - other) ** 2)))


@pytest.mark.parametrize(
    ("dose", "aim"),
    [
        (DoseChoice.NONE, DoseAim.ORIGINALS),
        (DoseChoice.FULL, DoseAim.ORIGINALS),
        (DoseChoice.FULL, DoseAim.TEACHER),
    ],
)
def test_pictures_go_in_and_come_out(
    bus: redis.Redis,
    redis_url: str,
    tmp_path: Path,
    start_worker: StartWorker,
    monkeypatch: pytest.MonkeyPatch,
    dose: DoseChoice,
    aim: DoseAim,
) -> None:
    monkeypatch.setenv("MICRODOSE_DISTIL_STEPS", str(STEPS))
    job = enqueue_photos(bus, tmp_path, dose, aim)
    start_worker(redis_url)
    done = finish(bus, job)
    assert (done.state, done.error) == (JobState.SUCCEEDED, None)

    manifest = parse_manifest(read_manifest(bus, job.sequence) or b"")
    pictures = decode(manifest, public_blobs(tmp_path))
    for n, picture in enumerate(pictures):
        assert picture.shape == (HEIGHT, WIDTH, 3)
        assert psnr(picture, photo(n, WIDTH, HEIGHT)) > 15

    results = Sequences(bus).get(job.sequence).results
    assert results is not None
    assert (results.pictures, results.dose_kind.value) == (2, dose.value)
    assert (results.bytes.dose > 0) == (dose == DoseChoice.FULL)
    assert results.bytes == manifest.bytes
    events = [event.job for event in job_events(bus, job.id)]
    assert [event.phase for event in events][-1] == "publish"
    steps = max(event.step for event in events if event.phase == "distil")
    assert steps == (STEPS if dose == DoseChoice.FULL else 0)
