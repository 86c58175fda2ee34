"""Blobs over HTTP: what passes is waited for, what does not is told."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from microdose.digest import digest_of
from microdose.errors import DigestMismatch, NoSpace, NotFound, Unavailable
from microdose.problem import ProblemError
from microdose_server.settings import Settings
from microdose_server.store.shelf import RemoteShelf, checkpoints, live_blobs, originals, public_blobs
from tests.loopback import Loopback, Reply, Request, problem_reply

DATA = b"bytes"
DIGEST = digest_of(DATA)


class Answers:
    """One reply after the other, then the last again."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def __call__(self, request: Request) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(Answers(Reply(body=DATA))) as server:
        yield server


@pytest.fixture
def slept() -> list[float]:
    return []


@pytest.fixture
def shelf(server: Loopback, slept: list[float]) -> Iterator[RemoteShelf]:
    shelf = RemoteShelf(server.url, "originals", "md_k", sleep=slept.append)
    yield shelf
    shelf.close()


def test_bytes_come_and_go_by_digest(server: Loopback, shelf: RemoteShelf) -> None:
    assert shelf.get(DIGEST) == DATA
    assert shelf.put(DATA) == DIGEST
    got, put = server.requests
    assert (got.method, got.path, got.headers["authorization"]) == (
        "GET",
        f"/v1/originals/{DIGEST}",
        "Bearer md_k",
    )
    assert (put.method, put.path, put.body) == ("PUT", f"/v1/originals/{DIGEST}", DATA)


def test_a_checkpoint_is_removed_without_waiting(
    server: Loopback, shelf: RemoteShelf, slept: list[float]
) -> None:
    server.answer = Answers(Reply(204), Reply(503))
    shelf.discard(DIGEST)
    with pytest.raises(Unavailable):
        shelf.discard(DIGEST)
    assert slept == []
    assert [request.method for request in server.requests] == ["DELETE", "DELETE"]


def test_an_api_that_is_away_is_waited_for(server: Loopback, shelf: RemoteShelf, slept: list[float]) -> None:
    server.answer = Answers(Reply(503), Reply(500), Reply(body=b"cut", length=9), Reply(body=DATA))
    assert shelf.get(DIGEST) == DATA
    assert len(slept) == 3


def test_an_api_that_is_busy_is_waited_for(server: Loopback, shelf: RemoteShelf, slept: list[float]) -> None:
    server.answer = Answers(
        problem_reply("too-slow", "slow"), problem_reply("too-many-requests", "many"), Reply(201)
    )
    assert shelf.put(DATA) == DIGEST
    assert len(slept) == 2


def test_bytes_are_verified(server: Loopback, shelf: RemoteShelf) -> None:
    server.answer = Answers(Reply(body=b"other"))
    with pytest.raises(DigestMismatch):
        shelf.get(DIGEST)


@pytest.mark.parametrize(
    ("reply", "kind"),
    [
        (problem_reply("not-found", "no"), NotFound),
        (problem_reply("forbidden", "no"), ProblemError),
        (problem_reply("no-space", "full"), NoSpace),
    ],
)
def test_what_does_not_pass_is_told(
    server: Loopback, shelf: RemoteShelf, slept: list[float], reply: Reply, kind: type[Exception]
) -> None:
    server.answer = Answers(reply)
    for call in (lambda: shelf.get(DIGEST), lambda: shelf.put(DATA)):
        with pytest.raises(kind):
            call()
    assert slept == []


def test_a_check_asks_once(server: Loopback, shelf: RemoteShelf, slept: list[float]) -> None:
    replies: list[tuple[Reply, type[Exception] | None]] = [
        (problem_reply("not-found", "no"), None),
        (problem_reply("unauthorized", "who?"), ProblemError),
        (Reply(502), Unavailable),
    ]
    for reply, kind in replies:
        server.answer = Answers(reply)
        check: Callable[[], None] = shelf.check
        if kind is None:
            check()
        else:
            with pytest.raises(kind):
                check()
    assert slept == []


def test_what_is_no_url_is_named() -> None:
    with pytest.raises(Unavailable, match="is not the URL"):
        RemoteShelf("api:8710", "blobs", "md_k")


def test_on_this_machine_all_but_live_pictures_leave_the_disk_its_reserve(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path, reserve_bytes=2**60)
    for shelf in (originals(settings), checkpoints(settings), public_blobs(settings)):
        with pytest.raises(NoSpace, match="MICRODOSE_RESERVE_BYTES"):
            shelf.put(DATA)
    assert live_blobs(settings).put(DATA) == DIGEST
    assert public_blobs(settings).get(DIGEST) == DATA
    assert public_blobs(settings).discard(DIGEST)
