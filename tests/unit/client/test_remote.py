""".mds files at a URL: only the parts that are needed from a web server that can, the whole from others."""

import re
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest

from microdose.errors import CorruptStream, DigestMismatch, NotFound, Unavailable
from microdose.mds import write_mds
from microdose_client import decode_file, file_info, file_pictures, remote
from tests.loopback import Loopback, Reply, Request
from tests.tiny_base import tiny_sequence

TINY = tiny_sequence(3)
FILE = write_mds(TINY.manifest, TINY.blobs)
Answer = Callable[[Request], Reply]


def ranged(request: Request, data: bytes = FILE) -> Reply:
    """What any static web server does with one range."""
    found = re.fullmatch(r"bytes=(\d+)-(\d+)", request.headers["range"])
    assert found is not None
    first, last = int(found[1]), min(int(found[2]), len(data) - 1)
    return Reply(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Loopback]:
    monkeypatch.setattr(remote, "HEAD_BYTES", 4096)
    with Loopback(ranged) as server:
        yield server


def test_a_file_at_a_url_plays_like_the_file(server: Loopback, tmp_path: Path) -> None:
    path = tmp_path / "tiny.mds"
    path.write_bytes(FILE)
    url = f"{server.url}/holiday.mds?v=1"
    assert file_info(url) == file_info(path)
    pairs = zip(file_pictures(url, threads=1), file_pictures(path, threads=1), strict=True)
    for ours, expected in pairs:
        np.testing.assert_array_equal(ours.pixels, expected.pixels)
    assert len(decode_file(url, tmp_path / "out", threads=1).files) == 3
    assert {request.path for request in server.requests} == {"/holiday.mds?v=1"}


def test_only_the_parts_that_are_needed_travel(server: Loopback) -> None:
    file_info(f"{server.url}/x.mds")
    assert len(server.requests) <= 2
    asked = [re.findall(r"\d+", request.headers["range"]) for request in server.requests]
    assert sum(int(last) - int(first) + 1 for first, last in asked) < len(FILE) / 2


def test_a_server_without_ranges_sends_the_whole_once(server: Loopback) -> None:
    server.answer = lambda request: Reply(body=FILE)
    assert len(list(file_pictures(f"{server.url}/x.mds", threads=1))) == 3
    assert len(server.requests) == 1


def test_a_big_file_without_ranges_is_not_taken(server: Loopback, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "MAX_WHOLE_BYTES", 1000)
    server.answer = lambda request: Reply(body=FILE)
    with pytest.raises(Unavailable, match=r"HTTP Range.*give the path of your copy"):
        file_info(f"{server.url}/x.mds")


def lying(size: int) -> Answer:
    """A server that says the file has another size."""

    def answer(request: Request) -> Reply:
        reply = ranged(request)
        told = reply.headers["Content-Range"].partition("/")[0]
        return Reply(206, reply.body, {"Content-Range": f"{told}/{size}"})

    return answer


@pytest.mark.parametrize(
    ("answer", "error", "words"),
    [
        (lambda request: Reply(404), NotFound, "there is no"),
        (lambda request: Reply(403), Unavailable, "answered 403"),
        (lambda request: Reply(302, headers={"Location": request.path}), Unavailable, "redirects"),
        (lambda request: Reply(body=b"GIF89a" + bytes(100)), CorruptStream, "not a .mds file"),
        (lambda request: ranged(request, FILE[:5000]), CorruptStream, "beyond its end|cut short"),
        (lambda request: Reply(206, FILE[:4096]), CorruptStream, "Content-Range"),
        (lambda request: ranged(request, FILE[:-9] + bytes(9)), DigestMismatch, "not sha256"),
        (lying(2**40), None, ""),
        (lying(5000), CorruptStream, "beyond its end"),
    ],
)
def test_what_goes_wrong_has_a_name(
    server: Loopback, answer: Answer, error: type[Exception] | None, words: str
) -> None:
    server.answer = answer
    with pytest.raises(error, match=words) if error else nullcontext():
        assert len(list(file_pictures(f"{server.url}/x.mds", threads=1))) == 3
