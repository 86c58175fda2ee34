"""Names that want to be paths, and a queue entry that wants to be code: neither gets there."""

import http.client
import json
import os
import pickle
import re
import zlib
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest
import redis

from microdose.resources import Priority
from microdose_server.jobs.queue import LINES
from tests.photos import encode, pack, photo
from tests.programs import run
from tests.served import Served

CLIMBS = ("../../../up", "..\\..\\up", "/etc/up", "a/../../up", "..", "\x00up", "up\x00.png", "~/up", "CON")
BY_DIGEST = re.compile(r"(blobs|originals)/sha256/[0-9a-f]{2}/[0-9a-f]{64}|gc\.json")


def files(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*") if not path.is_dir()}


def ask(served: Served, method: str, target: str) -> int:
    """The status of a request whose target no client library has tidied."""
    url = urlsplit(served.url)
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    connection.putrequest(method, target, skip_accept_encoding=True)
    connection.putheader("Authorization", served.http.headers["authorization"])
    connection.endheaders()
    status = connection.getresponse().status
    connection.close()
    return status


def test_names_of_uploads_never_become_paths(served: Served) -> None:
    for name in CLIMBS:
        headers = {"X-Microdose-Name": quote(name)}
        assert served.put(served.create(), 0, headers=headers).status_code == 201
        part = ("files", (name, encode(photo(1))))
        assert served.http.post("/v1/sequences:upload", files=[part]).status_code == 202
        archive = ("files", ("a.zip", pack((name.replace("\x00", ""), encode(photo(2))))))
        assert served.http.post("/v1/sequences:upload", files=[archive]).status_code in (202, 422)
    found = files(served.settings.data_dir)
    assert found
    assert all(BY_DIGEST.fullmatch(path) for path in found)
    for folder in (served.settings.data_dir.parents[1], Path.cwd(), Path("/etc")):
        assert not {"up", "up.png", "CON"} & {path.name for path in folder.iterdir()}


@pytest.mark.parametrize(
    "target",
    [
        "/v1/blobs/../../originals",
        "/v1/blobs/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "/v1/blobs/sha256:../../../etc/passwd",
        f"/v1/blobs/sha256:{'%2e' * 32}{'0' * 32}",
        f"/v1/blobs/sha256:{'0' * 63}%0a",
        f"/v1/blobs/sha256:{'0' * 64}%00",
        "/v1/sequences/..%2f..%2f/manifest",
        "/v1/sequences/*/manifest",
        f"/v1/sequences/{'0' * 25}}}/manifest",
        "/v1/jobs/..",
        "/problems/..%2f..%2fetc%2fpasswd",
        "//etc/passwd",
    ],
)
def test_what_is_no_id_names_nothing(served: Served, target: str) -> None:
    assert ask(served, "GET", target) == 404


class Bomb:
    """Unpickled, it writes a file."""

    def __init__(self, mark: str) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return os.open, (self.mark, os.O_CREAT | os.O_WRONLY)


def test_the_queue_holds_json_and_never_runs_a_pickle(
    bus: redis.Redis, served: Served, redis_url: str, tmp_path: Path
) -> None:
    job = served.queued()
    body = bus.hget(f"rq:job:{job.id}", "data")
    assert isinstance(body, bytes)
    function, _, arguments, _ = json.loads(zlib.decompress(body))
    assert (function, arguments) == ("microdose_server.jobs.work.run", [job.id])
    mark = tmp_path / "ran"
    bomb = pickle.dumps(("os.getpid", None, (Bomb(str(mark)),), {}))
    bus.hset(f"rq:job:{job.id}", "data", zlib.compress(bomb))
    assert bus.lpos(f"rq:queue:{LINES[Priority.NORMAL]}", job.id) == 0
    done = run("worker", "--burst", "--redis", redis_url, "--data-dir", str(tmp_path))
    assert done.returncode == 0, done.stderr
    assert not mark.exists()
    assert bus.llen(f"rq:queue:{LINES[Priority.NORMAL]}") == 0
