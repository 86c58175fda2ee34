"""docker/nginx.conf before a real API: what it sends itself, what it passes, what it hides."""

import shutil
import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from microdose_server.api import key as key_resource
from microdose_server.evaluate.front import Behind, Tls, write_config
from microdose_server.evaluate.ports import free_port
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.lock import poll
from tests import nginx
from tests.photos import encode, photo
from tests.served import Served, problem

DATA = bytes(range(256)) * 2000
PATIENCE_S = 60
BY_THE_API = "x-request-id"
"""A header of everything that the API answers, and of nothing that nginx sends by itself."""


@pytest.fixture
def blob(served: Served) -> str:
    """The path of a blob."""
    return f"/v1/blobs/{public_blobs(served.settings.data_dir).put(DATA)}"


@pytest.fixture
def door(served: Served, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client with an admin key, through nginx."""
    with (
        nginx.door(tmp_path, served.url, served.settings) as url,
        httpx.Client(base_url=url, headers=served.http.headers, timeout=60) as client,
    ):
        yield client


def test_the_configuration_is_one(tmp_path: Path) -> None:
    program = nginx.nginx()
    config = write_config(nginx.DOCKER, tmp_path, Behind("http://127.0.0.1:1", tmp_path), free_port())
    command = [program, "-t", "-e", str(tmp_path / "error.log"), "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "test is successful" in done.stderr, done.stderr
    assert "[warn]" not in done.stderr


@pytest.mark.parametrize("method", ["GET", "HEAD"])
def test_a_blob_is_sent_from_the_disk_as_the_api_would(
    door: httpx.Client, served: Served, blob: str, method: str
) -> None:
    here, there = door.request(method, blob), served.http.request(method, blob)
    assert here.content == there.content == (DATA if method == "GET" else b"")
    for name in ("etag", "cache-control", "content-length", "content-type", "x-content-type-options"):
        assert here.headers[name] == there.headers[name]
    assert BY_THE_API in there.headers
    assert BY_THE_API not in here.headers


def test_so_is_a_range_of_it(door: httpx.Client, served: Served, blob: str) -> None:
    etag = door.head(blob).headers["etag"]
    for wanted in ("bytes=1000-1999", f"bytes={len(DATA) - 5}-"):
        for condition in ({}, {"If-Range": etag}):
            headers = {"Range": wanted, **condition}
            here, there = door.get(blob, headers=headers), served.http.get(blob, headers=headers)
            assert here.status_code == there.status_code == 206
            assert here.content == there.content
            assert here.headers["content-range"] == there.headers["content-range"]
            assert BY_THE_API not in here.headers
    other = door.get(blob, headers={"Range": "bytes=0-1", "If-Range": '"x"'})
    assert (other.status_code, other.content) == (200, DATA)


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"If-None-Match": "*"}, 304),
        ({"Range": "bytes=-7"}, 206),
        ({"Range": "bytes=0-1,1000-1001"}, 206),
        ({"Range": "lines=0-1"}, 200),
        ({"Range": f"bytes={len(DATA)}-"}, 416),
    ],
)
def test_what_asks_for_more_than_that_is_for_the_api(
    door: httpx.Client, blob: str, headers: dict[str, str], status: int
) -> None:
    answer = door.get(blob, headers=headers)
    assert (answer.status_code, BY_THE_API in answer.headers) == (status, True)


def test_a_blob_still_needs_a_key(door: httpx.Client, served: Served, blob: str) -> None:
    url = f"{door.base_url}{blob}"
    assert httpx.get(url, headers=served.key(Scope.VIEW)).content == DATA
    for headers in ({}, {"Authorization": "Bearer md_no_key"}):
        problem(httpx.get(url, headers=headers), "unauthorized")
    assert httpx.get(url, headers=served.key(Scope.WORKER)).content == DATA


def test_a_key_is_asked_for_once(door: httpx.Client, served: Served, blob: str) -> None:
    door.get(blob)
    before = asked(served)
    assert {door.get(blob).status_code for _ in range(50)} == {200}
    assert asked(served) - before < 25


def test_a_revoked_key_is_refused_soon(
    door: httpx.Client, served: Served, blob: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(key_resource, "HELD_S", 1)
    key, token = ApiKeys(served.bus).create([Scope.VIEW])
    viewer = httpx.Client(base_url=door.base_url, headers={"Authorization": f"Bearer {token}"})
    with viewer:
        assert viewer.get(blob).status_code == 200
        ApiKeys(served.bus).revoke(key.id)
        assert poll(lambda: viewer.get(blob).status_code == 401, PATIENCE_S)
        assert viewer.get(blob).status_code == 401


def asked(served: Served) -> float:
    """How often the API was asked about a key."""
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    found = (
        line for line in lines if line.startswith('microdose_requests_total{method="GET",operation="key-')
    )
    return sum(float(line.rpartition(" ")[2]) for line in found)


@pytest.mark.parametrize(
    "path",
    [
        "/v1/blobs/sha256:" + 64 * "0",
        "/v1/blobs/sha256:" + 63 * "0",
        "/v1/blobs/sha256:" + 60 * "0" + "/../",
        "/v1/blobs/sha256:00%2f" + 61 * "0",
        "/v1/blobs/sha256:..%2f..%2fsecret",
        "/v1/blobs/../secret",
        "/blobs/sha256/secret",
        "/secret",
    ],
)
def test_nothing_but_a_digest_leads_to_the_disk(door: httpx.Client, served: Served, path: str) -> None:
    folder = served.settings.data_dir / "blobs"
    for place in (folder, folder / "sha256", folder / "sha256" / "00"):
        place.mkdir(exist_ok=True)
        (place / "secret").write_bytes(b"kept back")
    answer = door.get(path)
    assert answer.status_code == 404
    assert b"kept back" not in answer.content
    assert BY_THE_API in answer.headers


def test_without_the_disk_the_api_sends_blobs(served: Served, blob: str, tmp_path: Path) -> None:
    elsewhere = served.settings.model_copy(update={"data_dir": tmp_path})
    with nginx.door(tmp_path, served.url, elsewhere) as url:
        answer = httpx.get(url + blob, headers=served.http.headers)
        assert (answer.content, BY_THE_API in answer.headers) == (DATA, True)


def test_a_blob_that_is_removed_is_gone(door: httpx.Client, served: Served, blob: str) -> None:
    assert door.get(blob).status_code == 200
    shutil.rmtree(served.settings.data_dir / "blobs" / "sha256")
    problem(door.get(blob), "not-found")


def test_a_worker_may_put_a_blob(door: httpx.Client, served: Served, blob: str) -> None:
    answer = door.put(
        blob, content=DATA, headers=served.key(Scope.WORKER) | {"Content-Type": "application/octet-stream"}
    )
    assert answer.status_code == 204


def test_everything_else_goes_to_the_api(door: httpx.Client, served: Served) -> None:
    sequence = door.post("/v1/sequences", json={}).json()["id"]
    answer = door.put(f"/v1/sequences/{sequence}/frames/0", content=encode(photo(0)))
    assert answer.status_code == 201
    files = [("files", (f"{n}.png", encode(photo(n)))) for n in range(2)]
    assert door.post("/v1/sequences:upload", files=files).status_code == 202
    problem(door.get("/v1/nothing"), "not-found")
    assert door.get("/readyz").status_code == 200
    assert door.get("/livez").headers["server"] == "nginx"  # without a version


def test_metrics_stay_inside(door: httpx.Client) -> None:
    answer = door.get("/metrics")
    assert (answer.status_code, answer.headers["content-type"]) == (404, "application/problem+json")
    assert answer.json()["type"] == "/problems/not-found"
    assert door.get("/_key").status_code == 404
    assert door.get("/_alive").status_code == 204


def test_events_pass_as_they_come(door: httpx.Client, served: Served) -> None:
    job = served.queued()
    with door.stream("GET", f"/v1/sequences/{job.sequence}/events") as stream:
        lines = stream.iter_lines()
        assert next(lines) == ": microdose"  # it came although the stream has not ended
        publisher = threading.Thread(target=served.publish, args=(job,))
        publisher.start()
        assert "event: init" in lines
        assert "event: end" in lines
        publisher.join()


def test_without_the_api_it_says_so(served: Served, blob: str, tmp_path: Path) -> None:
    with nginx.door(tmp_path, f"http://127.0.0.1:{free_port()}", served.settings) as url:
        for path in ("/livez", blob, "/v1/sequences"):
            answer = httpx.get(url + path, headers=served.http.headers, timeout=60)
            assert (answer.status_code, answer.json()["type"]) == (503, "/problems/unavailable")
            assert answer.headers["retry-after"]


def test_tls_ends_there(served: Served, blob: str, tmp_path: Path) -> None:
    certificate, key = tmp_path / "tls.pem", tmp_path / "tls.key"
    names = ["-subj", "/CN=localhost", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-keyout", str(key), "-out", str(certificate)]
    kind = ["-x509", "-nodes", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)
    port = free_port()
    trusted = ssl.create_default_context(cafile=str(certificate))
    with (
        nginx.door(tmp_path, served.url, served.settings, Tls(port, certificate, key)),
        httpx.Client(
            base_url=f"https://127.0.0.1:{port}", headers=served.http.headers, verify=trusted
        ) as client,
    ):
        for path in (blob, "/livez"):
            answer = client.get(path)
            assert (answer.status_code, answer.headers["strict-transport-security"]) == (
                200,
                "max-age=31536000",
            )
