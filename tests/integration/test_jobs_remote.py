"""Workers on machines that share nothing with the API but Redis: each has a data folder of its own."""

import signal
from contextlib import ExitStack
from functools import partial
from pathlib import Path

import pytest

from microdose.digest import digest_of, repr_digest
from microdose.manifest import parse_manifest
from microdose.resources import DoseChoice, JobState, SequenceCreate
from microdose_server.jobs.queue import JobQueue
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import checkpoints
from microdose_server.store.bus import read_manifest
from microdose_server.store.drafts import read_checkpoint
from microdose_server.store.lock import poll
from microdose_server.store.redis import connect, text
from microdose_server.store.sequences import Sequences
from tests.job_bodies import STOPS_AT
from tests.live import live_api
from tests.namespaces import machines
from tests.photos import encode, photo
from tests.programs import run
from tests.served import Served, problem, served_by
from tests.valkey import reachable
from tests.workers import PATIENCE_S, StartWorker, finish, has_ended, pids


def files(folder: Path) -> set[Path]:
    return {path for path in folder.rglob("*") if path.is_file()}


def test_jobs_are_done_on_machines_without_a_shared_disk(
    served: Served, redis_url: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    _, key = ApiKeys(served.bus).create([Scope.WORKER])
    machines = [tmp_path / "one", tmp_path / "two"]
    jobs = []
    for _ in range(3):
        sequence = Sequences(served.bus).create(SequenceCreate(dose=DoseChoice.NONE)).id
        for n in range(2):
            served.put(sequence, n)
        jobs.append(JobQueue(served.bus, work="tests.job_bodies.tiny").enqueue(sequence))
    for folder in machines:
        start_worker(
            redis_url,
            MICRODOSE_DATA_DIR=str(folder),
            MICRODOSE_BLOBS_URL=served.url,
            MICRODOSE_KEY=key,
        )
    for job in jobs:
        done = finish(served.bus, job)
        assert (done.state, done.error) == (JobState.SUCCEEDED, None)
        assert len(pids(served.bus, job)) == 1
        manifest = parse_manifest(read_manifest(served.bus, job.sequence) or b"")
        for descriptor in manifest.descriptors():
            answer = served.http.get(f"/v1/blobs/{descriptor.digest}")
            assert digest_of(answer.content) == descriptor.digest
    assert [files(folder) for folder in machines] == [set(), set()]


def test_a_distillation_goes_on_elsewhere_from_its_checkpoint(
    served: Served, redis_url: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    goes_on_elsewhere(served, partial(start_worker, redis_url), partial(start_worker, redis_url), tmp_path)


def test_it_does_so_on_machines_with_networks_of_their_own(start_worker: StartWorker, tmp_path: Path) -> None:
    """Redis by TCP and blobs by HTTP are all that they have of each other, and of the API."""
    (tmp_path / "redis").mkdir()
    with (
        machines(2) as apart,
        reachable(tmp_path / "redis", apart.here) as url,
        connect(url) as bus,
        ExitStack() as stack,
    ):
        settings = Settings(data_dir=tmp_path / "api", redis_url=url, host=apart.here)
        api = stack.enter_context(live_api(settings))
        served = stack.enter_context(served_by(api, settings, bus))
        one, two = (partial(start_worker, url, *command) for command in apart.commands)
        goes_on_elsewhere(served, one, two, tmp_path)


def goes_on_elsewhere(served: Served, one: StartWorker, two: StartWorker, tmp_path: Path) -> None:
    """A worker is killed in the middle of a distillation, and another does the rest of its steps."""
    wish = SequenceCreate(dose=DoseChoice.GAINS, profile="live")
    sequence = Sequences(served.bus).create(wish).id
    served.put(sequence, 0)
    job = JobQueue(served.bus, work="tests.job_bodies.distilling").enqueue(sequence)
    environ = {
        "MICRODOSE_BLOBS_URL": served.url,
        "MICRODOSE_KEY": ApiKeys(served.bus).create([Scope.WORKER])[1],
        "MICRODOSE_DISTIL_STEPS": str(STOPS_AT + 4),
        "MICRODOSE_CHECKPOINT_S": "0",
    }

    def steps() -> list[int]:
        return [int(step) for step in served.bus.lrange(f"steps:{job.id}", 0, -1)]

    first = one(**environ, MICRODOSE_DATA_DIR=str(tmp_path / "one"))
    assert poll(lambda: STOPS_AT in steps(), PATIENCE_S)
    early = text(served.bus.get(f"early:{job.id}") or "")
    assert poll(lambda: read_checkpoint(served.bus, sequence) not in (None, early), PATIENCE_S)
    first.send_signal(signal.SIGKILL)
    assert poll(lambda: all(has_ended(pid) for pid in pids(served.bus, job)), PATIENCE_S)
    kept, store = read_checkpoint(served.bus, sequence), checkpoints(served.settings.data_dir)
    assert kept in set(store.digests())
    two(**environ, MICRODOSE_DATA_DIR=str(tmp_path / "two"))
    done = finish(served.bus, job)
    assert (done.state, done.error, done.attempt) == (JobState.SUCCEEDED, None, 2)
    again = steps()[STOPS_AT:]
    assert 1 < again[0] <= STOPS_AT
    assert again == list(range(again[0], STOPS_AT + 5))
    assert read_checkpoint(served.bus, sequence) is None
    assert kept not in set(store.digests())
    assert files(tmp_path / "two") == set()


def test_a_live_sequence_goes_on_elsewhere_from_what_is_published(
    served: Served, redis_url: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    sequence = Sequences(served.bus).create(SequenceCreate(live=True, dose=DoseChoice.NONE)).id
    job = JobQueue(served.bus, work="tests.job_bodies.streaming").enqueue(sequence)
    environ = {
        "MICRODOSE_BLOBS_URL": served.url,
        "MICRODOSE_KEY": ApiKeys(served.bus).create([Scope.WORKER])[1],
    }

    def published() -> list[int]:
        data = read_manifest(served.bus, sequence)
        return [segment.n for segment in parse_manifest(data).segments] if data else []

    for n, folder in enumerate(("one", "two")):
        worker = start_worker(redis_url, **environ, MICRODOSE_DATA_DIR=str(tmp_path / folder))
        served.put(sequence, n)
        assert poll(lambda: n in published(), PATIENCE_S)  # noqa: B023  it is called at once
        worker.send_signal(signal.SIGKILL)
    start_worker(redis_url, **environ, MICRODOSE_DATA_DIR=str(tmp_path / "three"))
    assert served.http.post(f"/v1/sequences/{sequence}/complete").status_code == 202
    done = finish(served.bus, job)
    assert (done.state, done.error) == (JobState.SUCCEEDED, None)
    assert published() == [0, 1]


@pytest.mark.parametrize("scope", [Scope.PUBLISH, Scope.VIEW])
def test_only_workers_read_originals_and_write_blobs(served: Served, scope: Scope) -> None:
    digest = served.put(served.create(), 0).json()["digest"]
    headers = served.key(scope)
    problem(served.http.get(f"/v1/originals/{digest}", headers=headers), "forbidden")
    for kind in ("blobs", "originals", "checkpoints"):
        path = f"/v1/{kind}/{digest_of(b'x')}"
        problem(served.http.put(path, content=b"x", headers=headers), "forbidden")
    problem(served.http.delete(path, headers=headers), "forbidden")
    problem(served.http.get(path, headers=headers), "forbidden")
    mine = served.key(Scope.WORKER)
    assert served.http.get(f"/v1/originals/{digest}", headers=mine).content == encode(photo(0))
    problem(served.http.get("/v1/sequences", headers=mine), "forbidden")
    problem(served.http.get(f"/v1/blobs/{digest}", headers=mine), "not-found")


def test_checkpoints_alone_can_be_removed(served: Served) -> None:
    digest = digest_of(b"x")
    for kind, status in (("blobs", 405), ("originals", 405), ("checkpoints", 204)):
        path = f"/v1/{kind}/{digest}"
        served.http.put(path, content=b"x")
        assert served.http.delete(path).status_code == status
    problem(served.http.get(path), "not-found")
    assert served.http.delete(path).status_code == 204


@pytest.mark.parametrize("kind", ["blobs", "originals", "checkpoints"])
def test_only_the_bytes_that_a_digest_names_are_kept(served: Served, kind: str) -> None:
    digest = digest_of(b"right")
    path = f"/v1/{kind}/{digest}"
    problem(served.http.put(path, content=b"wrong"), "digest-mismatch")
    problem(
        served.http.put(path, content=b"right", headers={"Repr-Digest": repr_digest(digest_of(b"?"))}),
        "digest-mismatch",
    )
    problem(served.http.get(path), "not-found")
    for _ in range(2):
        assert served.http.put(path, content=b"right").status_code == 204
    assert served.http.get(path).content == b"right"
    problem(served.http.put(f"/v1/{kind}/..%2fup", content=b"x"), "not-found")
    problem(served.http.put(f"/v1/{kind}/sha256:0", content=b"x"), "invalid-request")


@pytest.mark.parametrize(
    ("url", "key", "told"),
    [
        ("http://127.0.0.1:1", "md_k", "cannot reach http://127.0.0.1:1"),
        (None, "", "there is no API key"),
        (None, "md_wrong", "send 'Authorization"),
    ],
)
def test_a_worker_that_cannot_reach_the_blobs_does_not_start(
    served: Served, redis_url: str, tmp_path: Path, url: str | None, key: str, told: str
) -> None:
    arguments = ("worker", "--burst", "--redis", redis_url, "--data-dir", str(tmp_path))
    done = run(*arguments, "--blobs", url or served.url, MICRODOSE_KEY=key)
    assert done.returncode == 1
    assert told in done.stderr
