"""Workers on machines that share nothing with the API but Redis: each has a data folder of its own."""

from pathlib import Path

import pytest

from microdose.digest import digest_of, repr_digest
from microdose.manifest import parse_manifest
from microdose.resources import DoseChoice, JobState, SequenceCreate
from microdose_server.jobs.queue import JobQueue
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.bus import read_manifest
from microdose_server.store.sequences import Sequences
from tests.photos import encode, photo
from tests.programs import run
from tests.served import Served, problem
from tests.workers import StartWorker, finish, pids


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


@pytest.mark.parametrize("scope", [Scope.PUBLISH, Scope.VIEW])
def test_only_workers_read_originals_and_write_blobs(served: Served, scope: Scope) -> None:
    digest = served.put(served.create(), 0).json()["digest"]
    headers = served.key(scope)
    problem(served.http.get(f"/v1/originals/{digest}", headers=headers), "forbidden")
    for kind in ("blobs", "originals"):
        path = f"/v1/{kind}/{digest_of(b'x')}"
        problem(served.http.put(path, content=b"x", headers=headers), "forbidden")
    mine = served.key(Scope.WORKER)
    assert served.http.get(f"/v1/originals/{digest}", headers=mine).content == encode(photo(0))
    problem(served.http.get("/v1/sequences", headers=mine), "forbidden")


@pytest.mark.parametrize("kind", ["blobs", "originals"])
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
        ("http://127.0.0.1:1", "", "cannot reach http://127.0.0.1:1"),
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
