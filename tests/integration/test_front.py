"""docker/nginx.conf before a real API: what it keeps, what it passes, what it hides."""

import ssl
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from microdose_server.store.apikeys import Scope
from microdose_server.store.blobs import public_blobs
from tests.nginx import free_port, front, nginx, write_config
from tests.photos import encode, photo
from tests.served import Served, problem

DATA = bytes(range(256)) * 2000


@pytest.fixture
def blob(served: Served) -> str:
    """The path of a blob."""
    return f"/v1/blobs/{public_blobs(served.settings.data_dir).put(DATA)}"


@pytest.fixture
def door(served: Served, tmp_path: Path) -> Iterator[httpx.Client]:
    """A client with an admin key, through nginx."""
    with (
        front(tmp_path, served.url) as url,
        httpx.Client(base_url=url, headers=served.http.headers, timeout=60) as client,
    ):
        yield client


def test_the_configuration_is_one(tmp_path: Path) -> None:
    program = nginx()
    config = write_config(tmp_path, "127.0.0.1:1", free_port())
    command = [program, "-t", "-e", str(tmp_path / "error.log"), "-c", str(config)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "test is successful" in done.stderr, done.stderr
    assert "[warn]" not in done.stderr


def test_a_blob_is_kept_and_asked_for_once(door: httpx.Client, served: Served, blob: str) -> None:
    first, second = door.get(blob), door.get(blob)
    assert (first.headers["x-cache"], second.headers["x-cache"]) == ("MISS", "HIT")
    assert first.content == second.content == DATA
    for name in ("etag", "cache-control", "repr-digest", "content-type", "x-content-type-options"):
        assert first.headers[name] == second.headers[name]
    assert door.get(blob, headers={"If-None-Match": first.headers["etag"]}).status_code == 304
    head = door.head(blob)
    assert (head.headers["x-cache"], head.headers["content-length"]) == ("HIT", str(len(DATA)))


def test_ranges_come_from_the_cache_too(door: httpx.Client, blob: str) -> None:
    for expected in ("MISS", "HIT"):
        part = door.get(blob, headers={"Range": "bytes=1000-1999"})
        assert (part.status_code, part.headers["x-cache"]) == (206, expected)
        assert part.content == DATA[1000:2000]
        assert part.headers["content-range"] == f"bytes 1000-1999/{len(DATA)}"
    assert door.get(blob, headers={"Range": f"bytes={len(DATA)}-"}).status_code == 416


def test_what_is_kept_still_needs_a_key(door: httpx.Client, served: Served, blob: str) -> None:
    assert door.get(blob).status_code == door.get(blob).status_code == 200
    url = f"{door.base_url}{blob}"
    problem(httpx.get(url), "unauthorized")
    assert httpx.get(url, headers=served.key(Scope.VIEW)).headers["x-cache"] == "HIT"
    problem(door.get("/v1/blobs/sha256:" + 64 * "0"), "not-found")


def test_everything_else_goes_to_the_api(door: httpx.Client, served: Served) -> None:
    sequence = door.post("/v1/sequences", json={}).json()["id"]
    answer = door.put(f"/v1/sequences/{sequence}/frames/0", content=encode(photo(0)))
    assert answer.status_code == 201
    assert "x-cache" not in answer.headers
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
    with front(tmp_path, f"http://127.0.0.1:{free_port()}") as url:
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
        front(tmp_path, served.url, (port, certificate, key)),
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
