"""Live sequences through a real server and real worker processes, one of which is killed."""

import json
import os
import signal

from microdose import keys
from microdose.base import Descriptor, load_base
from microdose.decoder import Decoder
from microdose.manifest import Event, Manifest, parse_manifest
from microdose.resources import Job, JobState, Sequence, SequenceCreate
from microdose_server.jobs.queue import JobQueue
from microdose_server.store.lock import poll
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo
from tests.served import Serve, Served
from tests.streams import entries
from tests.workers import StartWorker, finish, pids

PATIENCE_S = 120


def events_of(served: Served, sequence: str) -> list[Event]:
    found = entries(served.bus, keys.events(sequence))
    return [Event.model_validate_json(data) for _, data in found]


def shows(served: Served, sequence: str, count: int) -> bool:
    """Whether there are that many segments in time."""

    def published() -> bool:
        return sum(event.type == "segment" for event in events_of(served, sequence)) >= count

    return poll(published, PATIENCE_S)


def manifest_of(served: Served, sequence: str) -> Manifest:
    return parse_manifest(served.http.get(f"/v1/sequences/{sequence}/manifest").content)


def decode_all(served: Served, manifest: Manifest) -> list[Pixels]:
    """Every listed picture as a viewer sees it, all bytes over HTTP."""

    def fetch(descriptor: Descriptor) -> bytes:
        return served.http.get(f"/v1/blobs/{descriptor.digest}").content

    base = load_base(fetch(manifest.base), fetch)
    decoders = {
        entry.epoch: Decoder(base, *map(fetch, manifest.doses(entry.epoch)), threads=1)
        for entry in manifest.epochs
    }
    return [decoders[entry.epoch].decode(fetch(entry.blob)).pixels for entry in manifest.segments]


def test_a_killed_worker_is_followed_by_another_without_loss_or_repetition(
    serve: Serve, redis_url: str, start_worker: StartWorker
) -> None:
    served = serve()
    sequence = Sequences(served.bus).create(SequenceCreate(live=True)).id
    job = JobQueue(served.bus, work="tests.job_bodies.streaming").enqueue(sequence)
    start_worker(redis_url, MICRODOSE_DATA_DIR=str(served.settings.data_dir))
    for n in range(6):
        assert served.put(sequence, n).status_code == 201
        assert shows(served, sequence, n + 1)
    os.kill(pids(served.bus, job)[0], signal.SIGKILL)
    for n in range(6, 9):
        served.put(sequence, n)
    assert shows(served, sequence, 9)
    served.http.post(f"/v1/sequences/{sequence}/complete")
    assert (finish(served.bus, job).state, finish(served.bus, job).attempt) == (JobState.SUCCEEDED, 2)
    events = events_of(served, sequence)
    assert [event.segment.n for event in events if event.segment] == list(range(9))
    assert [event.seq for event in events] == list(range(1, len(events) + 1))
    assert sum(event.type == "discontinuity" for event in events) == 1
    manifest = manifest_of(served, sequence)
    assert manifest.ended
    assert len(decode_all(served, manifest)) == 9


def test_a_live_sequence_with_the_shipped_teacher(
    serve: Serve, redis_url: str, start_worker: StartWorker
) -> None:
    served = serve()
    data_dir = str(served.settings.data_dir)
    start_worker(redis_url, MICRODOSE_DATA_DIR=data_dir, MICRODOSE_DISTIL_STEPS="2")
    answer = served.http.post("/v1/sequences", json={"live": True, "dose": "full", "name": "camera"})
    sequence = Sequence.model_validate_json(answer.content)
    assert sequence.job is not None
    for n in range(4):
        assert served.put(sequence.id, n, encode(photo(n, 64, 48))).status_code == 201
    assert poll(lambda: any(event.epoch == 1 for event in events_of(served, sequence.id)), PATIENCE_S)
    (init,) = [event for event in events_of(served, sequence.id) if event.epoch == 1]
    assert init.first is not None
    for n in range(4, init.first + 1):
        served.put(sequence.id, n, encode(photo(n % 8, 64, 48)))
    ended = served.http.post(f"/v1/sequences/{sequence.id}/complete")
    job = Job.model_validate_json(ended.content)
    assert job.id == sequence.job
    assert finish(served.bus, job).state is JobState.SUCCEEDED
    manifest = manifest_of(served, sequence.id)
    assert manifest.epoch(1).dose == init.dose
    assert [entry.epoch for entry in manifest.segments] == [0] * init.first + [1]
    for entry, pixels in zip(manifest.segments, decode_all(served, manifest), strict=True):
        error = pixels.astype(float) - photo(entry.n % 8, 64, 48)
        assert (error**2).mean() < 2_000  # a recognisable picture, not noise
    state = json.loads(served.http.get(f"/v1/sequences/{sequence.id}").content)
    assert state["results"]["pictures"] == init.first + 1
