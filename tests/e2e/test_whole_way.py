"""The whole way with nothing replaced: `up`, pictures by HTTP, the shipped teacher, a dose, a thin client."""

import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import numpy as np
import pytest
from PIL import Image

from microdose.base import load_base
from microdose.decoder import Decoder
from microdose.digest import verify
from microdose.dose import DoseKind
from microdose.manifest import parse_manifest
from microdose.problem import Problem
from microdose.resources import BaseInfo, DoseChoice, Job, JobState, Sequence, SequenceState
from microdose_client import Client, file_info, file_pictures
from tests.photos import clip, encode, film, photo, two_shots
from tests.programs import starting

PICTURES = [photo(12 * n, width=144, height=96) for n in range(3)]

RECOGNISABLE = 0.6
"""Correlation with the original: that it is this picture at all; how good it is, the demo's test asks."""


@dataclass(frozen=True)
class Server:
    """A running `up`, and an HTTP client with its key."""

    url: str
    key: str
    http: httpx.Client

    def finished(self, job: str) -> Job:
        """The job when it has ended."""
        while True:
            found = Job.model_validate_json(self.http.get(f"/v1/jobs/{job}?wait=30").content)
            if found.state.final:
                return found

    def blob(self, digest: str) -> bytes:
        """A blob, verified."""
        data = self.http.get(f"/v1/blobs/{digest}").content
        verify(data, digest)
        return data


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """`microdose-server up` with the shipped teacher and doses of a few steps."""
    folder = tmp_path_factory.mktemp("whole_way")
    with starting(folder) as start:
        arguments = ("up", "--data-dir", str(folder / "data"), "--port", "0")
        program = start(*arguments, MICRODOSE_DISTIL_STEPS="8")
        key, url = program.said("key")["key"], program.said("ready")["url"]
        headers = {"Authorization": f"Bearer {key}"}
        with httpx.Client(base_url=url, headers=headers, timeout=90) as http:
            yield Server(url, key, http)
        assert program.end(signal.SIGTERM) == 0


@pytest.fixture(scope="module")
def published(server: Server) -> Sequence:
    """Three pictures put one by one, completed and worked on."""
    sequence = server.http.post("/v1/sequences", json={"name": "China", "dose": "full"}).json()["id"]
    for n in (2, 0, 1):
        headers = {"Content-Type": "image/png", "X-Microdose-Name": f"view%20{n}.png"}
        path = f"/v1/sequences/{sequence}/frames/{n}"
        assert server.http.put(path, content=encode(PICTURES[n]), headers=headers).status_code == 201
    job = server.finished(server.http.post(f"/v1/sequences/{sequence}/complete").json()["id"])
    assert job.state is JobState.SUCCEEDED, job.error
    return Sequence.model_validate_json(server.http.get(f"/v1/sequences/{sequence}").content)


def test_the_sequence_is_published_with_what_it_measured(server: Server, published: Sequence) -> None:
    manifest = parse_manifest(server.http.get(f"/v1/sequences/{published.id}/manifest").content)
    assert published.state is SequenceState.PUBLISHED
    assert published.results is not None
    assert (published.results.pictures, published.results.pixels) == (3, 3 * 144 * 96)
    assert published.results.bytes == manifest.bytes
    assert published.results.bpp_total == pytest.approx(8 * manifest.bytes.total / (3 * 144 * 96))
    assert [entry.name for entry in manifest.segments] == ["view 0.png", "view 1.png", "view 2.png"]


def test_manifest_and_blobs_are_all_that_it_takes_to_decode(server: Server, published: Sequence) -> None:
    manifest = parse_manifest(server.http.get(f"/v1/sequences/{published.id}/manifest").content)
    base = load_base(server.blob(manifest.base.digest), lambda wanted: server.blob(wanted.digest))
    (epoch,) = manifest.epochs
    assert epoch.dose is not None
    decoder = Decoder(base, server.blob(epoch.dose.digest))
    for entry, original in zip(manifest.segments, PICTURES, strict=True):
        pixels = decoder.decode(server.blob(entry.blob.digest)).pixels
        assert pixels.shape == original.shape
        assert np.corrcoef(pixels.ravel(), original.ravel())[0, 1] > RECOGNISABLE


def test_the_base_on_offer_is_the_one_that_is_used(server: Server, published: Sequence) -> None:
    bases = [BaseInfo.model_validate(item) for item in server.http.get("/v1/bases").json()]
    (info,) = (base for base in bases if base.profile == published.profile)
    manifest = parse_manifest(server.http.get(f"/v1/sequences/{published.id}/manifest").content)
    assert info.base == manifest.base


def test_its_events_are_replayed(server: Server, published: Sequence) -> None:
    with server.http.stream("GET", f"/v1/sequences/{published.id}/events") as answer:
        names = []
        for line in answer.iter_lines():
            names += [line.removeprefix("event: ")] if line.startswith("event: ") else []
            if line == "event: end":
                break
    assert names == ["init", "segment", "segment", "segment", "end"]


def test_a_thin_client_pushes_a_clip_and_pulls_its_pictures(server: Server, tmp_path: Path) -> None:
    (tmp_path / "pan.mp4").write_bytes(film(3))
    with Client(server.url, key=server.key, cache_dir=tmp_path / "cache") as client:
        job = client.wait(client.push([tmp_path / "pan.mp4"], dose=DoseChoice.NONE).id)
        assert job.state is JobState.SUCCEEDED, job.error
        client.pull(job.sequence, tmp_path / "out")
    files = sorted((tmp_path / "out").glob("*.png"))
    assert len(files) == 3
    for n, file in enumerate(files):
        with Image.open(file) as image:
            pixels = np.asarray(image.convert("RGB"))
        assert np.corrcoef(pixels.ravel(), photo(n).ravel())[0, 1] > RECOGNISABLE


def test_each_shot_of_a_clip_has_its_dose_wherever_it_is_played(server: Server, tmp_path: Path) -> None:
    pictures, epochs = two_shots(), [0] * 14 + [1] * 12
    (tmp_path / "cut.mp4").write_bytes(clip(pictures))
    with Client(server.url, key=server.key, cache_dir=tmp_path / "cache") as client:
        job = client.wait(client.push([tmp_path / "cut.mp4"], dose=DoseChoice.GAINS).id)
        assert job.state is JobState.SUCCEEDED, job.error
        manifest = client.manifest(job.sequence)
        assert [(entry.epoch, entry.first) for entry in manifest.epochs] == [(0, 0), (1, 14)]
        assert [entry.epoch for entry in manifest.segments] == epochs
        assert client.info(job.sequence).doses == (DoseKind.GAINS, DoseKind.GAINS)
        client.export(job.sequence, tmp_path / "cut.mds")
        ways = [list(client.pictures(job.sequence)), list(client.follow(job.sequence))]
        pulled = client.pull(job.sequence, tmp_path / "out")
    ways.append(list(file_pictures(tmp_path / "cut.mds")))
    assert file_info(tmp_path / "cut.mds") == pulled.info
    for shown in ways:
        assert [picture.epoch for picture in shown] == epochs
        for picture, file in zip(shown, pulled.files, strict=True):
            with Image.open(file) as image:
                np.testing.assert_array_equal(picture.pixels, np.asarray(image))
            original = pictures[picture.n]
            assert np.corrcoef(picture.pixels.ravel(), original.ravel())[0, 1] > RECOGNISABLE


def test_a_bad_picture_stops_nothing(server: Server, published: Sequence) -> None:
    files = [("files", ("good.png", encode(PICTURES[0]))), ("files", ("bad.png", b"no picture"))]
    answer = server.http.post("/v1/sequences:upload", files=files)
    assert Problem.model_validate_json(answer.content).slug == "bad-picture"
    assert server.http.get(f"/v1/sequences/{published.id}/manifest").status_code == 200
