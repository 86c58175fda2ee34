"""The client against the real API: push, resume, refusals, jobs, and a pull of what was published."""

import io
import itertools
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import redis
from PIL import Image

from microdose.digest import digest_of
from microdose.errors import BadUpload, NotFound, Unavailable
from microdose.ids import new_id
from microdose.manifest import Event
from microdose.problem import ProblemError
from microdose.resources import DoseAim, DoseChoice, JobState, Priority, SequenceState
from microdose_client import Client, Retry, Step
from microdose_server.jobs import outcome
from microdose_server.jobs.publication import make_results
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.bus import publish
from microdose_server.store.sequences import Sequences
from tests.live import live_api
from tests.tiny_base import tiny_sequence


@pytest.fixture
def settings(redis_url: str, bus: redis.Redis, tmp_path: Path) -> Settings:
    return Settings(data_dir=tmp_path / "data", redis_url=redis_url)


@pytest.fixture
def server(settings: Settings) -> Iterator[str]:
    with live_api(settings) as url:
        yield url


@pytest.fixture
def client(server: str, bus: redis.Redis, tmp_path: Path) -> Iterator[Client]:
    _, key = ApiKeys(bus).create([Scope.PUBLISH])
    with Client(
        server, key=key, cache_dir=tmp_path / "cache", retry=Retry(attempts=3, first_s=0.0)
    ) as client:
        yield client


def picture(n: int) -> bytes:
    pixels = np.random.default_rng(n).integers(0, 256, (24, 32, 3), dtype=np.uint8)
    file = io.BytesIO()
    Image.fromarray(pixels).save(file, "PNG")
    return file.getvalue()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    for n in range(12):
        (folder / f"shot {n}.png").write_bytes(picture(n))
    return folder


def test_push_sends_every_picture_in_order_and_queues_the_job(
    client: Client, bus: redis.Redis, folder: Path
) -> None:
    steps: list[Step] = []
    job = client.push(
        [folder],
        name="Ferien",
        dose=DoseChoice.NONE,
        aim="teacher",
        lmbda=0.5,
        refine=12,
        profile="live",
        priority="high",
        progress=steps.append,
    )
    assert (job.state, job.priority) == (JobState.QUEUED, Priority.HIGH)
    sequence = client.sequence(job.sequence)
    assert (sequence.name, sequence.dose, sequence.lmbda) == ("Ferien", DoseChoice.NONE, 0.5)
    assert (sequence.profile, sequence.aim, sequence.refine) == ("live", DoseAim.TEACHER, 12)
    assert (sequence.state, sequence.frames, sequence.job) == (SequenceState.QUEUED, 12, job.id)
    frames = Sequences(bus).frames(job.sequence)
    assert [frame.digest for frame in frames] == [digest_of(picture(n)) for n in range(12)]
    assert [frame.name for frame in frames] == [f"shot {n}.png" for n in range(12)]
    assert steps[0] == Step("sequence", 1, 1, job.sequence)
    assert [(step.phase, step.done, step.total) for step in steps[1:]] == [
        ("uploading", n, 12) for n in range(1, 13)
    ]


def test_a_refused_picture_does_not_stop_the_rest_and_the_push_can_go_on(
    client: Client, bus: redis.Redis, folder: Path
) -> None:
    bad = folder / "shot 3.png"
    good = bad.read_bytes()
    bad.write_bytes(b"not a picture")
    with pytest.raises(
        BadUpload, match=r"1 of 12 pictures are refused; the first is .*shot 3\.png"
    ) as caught:
        client.push([folder])
    (sequence,) = client.sequences()
    assert sequence.frames == 11
    assert caught.value.__notes__ == [f"what has arrived is kept: go on with --resume {sequence.id}"]

    bad.write_bytes(good)
    before = {frame.n for frame in Sequences(bus).frames(sequence.id)}
    job = client.push([folder], resume=sequence.id)
    assert job.sequence == sequence.id
    assert before == set(range(12)) - {3}
    assert client.sequence(sequence.id).frames == 12


def test_resuming_with_other_files_is_noticed(client: Client, folder: Path) -> None:
    (folder / "shot 3.png").write_bytes(b"not a picture")
    with pytest.raises(BadUpload):
        client.push([folder])
    (sequence,) = client.sequences()
    with pytest.raises(BadUpload, match="11 frames already, but 1 files are given"):
        client.push([folder / "shot 0.png"], resume=sequence.id)


class Flaky(httpx.HTTPTransport):
    """A line that drops every third request, before or after the server has seen it."""

    def __init__(self) -> None:
        super().__init__()
        self.count = itertools.count()

    def handle_request(self, request: httpx.Request) -> httpx.Response:
        turn = next(self.count) % 6
        if turn == 2:
            raise httpx.ConnectError("the line is down")
        response = super().handle_request(request)
        if turn == 5:
            response.close()
            raise httpx.ReadError("the line went down")
        return response


def test_every_picture_arrives_over_a_bad_line(
    client: Client, server: str, bus: redis.Redis, folder: Path
) -> None:
    _, key = ApiKeys(bus).create([Scope.PUBLISH])
    with Client(server, key=key, transport=Flaky(), retry=Retry(attempts=20, first_s=0.0)) as flaky:
        job = flaky.push([folder])
    frames = Sequences(bus).frames(job.sequence)
    assert [frame.digest for frame in frames] == [digest_of(picture(n)) for n in range(12)]
    assert len(list(client.jobs())) == 1


@pytest.mark.parametrize(
    ("wish", "words"),
    [
        ({"name": "x" * 201}, "name: "),
        ({"lmbda": -1.0}, "lmbda: "),
        ({"refine": 0}, "refine: "),
        ({"dose": "huge"}, "dose: "),
        ({"aim": "moon"}, "aim: "),
        ({"priority": "now"}, "priority: "),
        ({"profile": "/"}, "profile: "),
    ],
)
def test_a_wish_that_cannot_be_had(client: Client, folder: Path, wish: dict[str, Any], words: str) -> None:
    with pytest.raises(BadUpload, match=words):
        client.push([folder], **wish)


def test_names_of_any_kind_travel(client: Client, bus: redis.Redis, tmp_path: Path) -> None:
    names = ["Größe 北京 #1?.png", "bad\udcff.png", f"{'long ' * 45}.png"]
    files = [tmp_path / name for name in names]
    for file in files:
        file.write_bytes(picture(0))
    job = client.push(files)
    shown = [frame.name for frame in Sequences(bus).frames(job.sequence)]
    assert shown[0] == names[0]
    assert [name is not None and len(name) <= 200 for name in shown] == [True] * 3


def test_a_file_that_vanishes_is_named(client: Client, folder: Path) -> None:
    (folder / "shot 5.png").unlink()
    (folder / "shot 5.png").symlink_to("/nowhere")
    with pytest.raises(BadUpload, match=r"cannot read .*shot 5\.png"):
        client.push([folder])


def test_an_archive_goes_up_in_one_piece(client: Client, folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "shots.zip"
    with zipfile.ZipFile(path, "w") as archive:
        for file in folder.iterdir():
            archive.write(file, file.name)
    job = client.push([path], name="zipped", priority="low")
    assert job.priority is Priority.LOW
    sequence = client.sequence(job.sequence)
    assert (sequence.name, sequence.frames) == ("zipped", 12)
    with pytest.raises(BadUpload, match="cannot be resumed"):
        client.push([path], resume=job.sequence)


def test_jobs_and_cancel(client: Client, folder: Path) -> None:
    jobs = [client.push([folder / "shot 0.png"]) for _ in range(3)]
    assert [job.id for job in client.jobs()] == [job.id for job in reversed(jobs)]
    assert client.job(jobs[0].id).state is JobState.QUEUED
    client.cancel(jobs[0].id)
    assert client.wait(jobs[0].id, timeout=60).state is JobState.CANCELLED
    with pytest.raises(Unavailable, match="is still queued after 0 s"):
        client.wait(jobs[1].id, timeout=0)


def test_delete(client: Client, folder: Path) -> None:
    job = client.push([folder / "shot 0.png"])
    client.delete(job.sequence)
    with pytest.raises(NotFound):
        client.sequence(job.sequence)
    with pytest.raises(NotFound, match="is not a sequence id"):
        client.delete("../keys")


@pytest.mark.parametrize(("scope", "slug"), [(Scope.VIEW, "forbidden"), (None, "unauthorized")])
def test_a_key_that_must_not_publish(
    server: str, bus: redis.Redis, folder: Path, scope: Scope | None, slug: str
) -> None:
    key = ApiKeys(bus).create([scope])[1] if scope else "md_wrong_key"
    with Client(server, key=key) as client, pytest.raises(ProblemError) as caught:
        client.push([folder])
    assert caught.value.problem.slug == slug


def test_a_published_sequence_comes_back(
    client: Client, bus: redis.Redis, settings: Settings, folder: Path, tmp_path: Path
) -> None:
    job = client.push([folder / "shot 0.png"])
    tiny = tiny_sequence(4, id=job.sequence)
    for data in tiny.blobs.values():
        public_blobs(settings.data_dir).put(data)
    begun = outcome.begin(bus, job)
    assert begun is not None
    events = [Event(seq=1, type="init"), Event(seq=2, type="end")]
    publish(bus, begun[1], tiny.manifest, events, make_results(tiny.manifest, {}))
    outcome.follow(bus, job.id)

    assert client.wait(job.id, timeout=60).state is JobState.SUCCEEDED
    results = client.sequence(job.sequence).results
    assert results is not None
    assert results.bpp_total == client.info(job.sequence).bpp_total
    assert client.manifest(job.sequence) == tiny.manifest
    pulled = client.pull(job.sequence, tmp_path / "out", threads=1)
    assert [file.exists() for file in pulled.files] == [True] * 4
    with pytest.raises(NotFound):
        client.manifest(new_id())
