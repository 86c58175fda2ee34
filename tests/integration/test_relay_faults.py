"""A relay whose upstream lies, stalls or goes away: clear answers, and on it goes."""

import json
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from microdose.digest import MAX_BLOB_BYTES, digest_of
from microdose_client import Client, Retry
from microdose_server.api.sse import message, opening
from microdose_server.settings import Settings
from tests.listening import listening, take
from tests.live import live_relay
from tests.loopback import Loopback, Reply, Request, json_reply, problem_reply
from tests.relays import Relayed
from tests.served import problem
from tests.tiny_base import TinySequence, tiny_sequence

OWN, VIEWER = (f"md_{12 * letter}_{43 * letter}" for letter in "av")
DATA = bytes(range(256)) * 100
BLOB = f"/v1/blobs/{digest_of(DATA)}"
KEY = {"id": 12 * "v", "scopes": ["view"], "created": "2026-01-01T00:00:00Z"}


class Origin:
    """An upstream whose every answer a test may set; it knows every key."""

    def __init__(self) -> None:
        self.replies: dict[str, list[Reply]] = {"/v1/key": [json_reply(KEY)]}

    def __call__(self, request: Request) -> Reply:
        replies = self.replies.get(request.path, [])
        if not replies:
            return problem_reply("not-found", "no such thing")
        return replies.pop(0) if len(replies) > 1 else replies[0]

    def says(self, path: str, *replies: Reply) -> None:
        """One after the other, then the last again."""
        self.replies[path] = list(replies)

    def has(self, sequence: TinySequence) -> None:
        """Everything of a published sequence."""
        name = sequence.manifest.sequence
        self.says(f"/v1/sequences/{name}/manifest", Reply(body=sequence.manifest.to_bytes()))
        for digest, data in sequence.blobs.items():
            self.says(f"/v1/blobs/{digest}", Reply(body=data))


@pytest.fixture
def origin() -> Origin:
    return Origin()


@pytest.fixture
def server(origin: Origin) -> Iterator[Loopback]:
    with Loopback(origin) as server:
        yield server


@pytest.fixture
def relay(server: Loopback, tmp_path: Path) -> Iterator[Relayed]:
    headers = {"Authorization": f"Bearer {VIEWER}"}
    with (
        live_relay(Settings(data_dir=tmp_path, upstream=server.url), OWN) as url,
        httpx.Client(base_url=url, headers=headers, timeout=60) as client,
    ):
        yield Relayed(url, client, tmp_path)


@pytest.mark.parametrize(
    ("lie", "slug"),
    [
        (Reply(body=DATA[1:]), "bad-upstream"),
        (Reply(body=DATA + DATA), "bad-upstream"),
        (Reply(body=DATA, length=MAX_BLOB_BYTES + 1), "bad-upstream"),
        (Reply(404, b"<html>"), "bad-upstream"),
        (Reply(301, headers={"Location": "http://169.254.169.254/"}), "bad-upstream"),
        (Reply(body=DATA, length=len(DATA) + 1), "unavailable"),
        (Reply(500), "unavailable"),
        (problem_reply("unauthorized", "revoked"), "unavailable"),
        (problem_reply("too-many-requests", "slow down"), "unavailable"),
    ],
)
def test_a_blob_that_cannot_be_had_right(origin: Origin, relay: Relayed, lie: Reply, slug: str) -> None:
    origin.says(BLOB, lie, Reply(body=DATA))
    answer = relay.http.get(BLOB, headers={"Range": "bytes=0-9"})
    problem(answer, slug)
    assert ("retry-after" in answer.headers) == (slug == "unavailable")
    assert relay.metric("microdose_cache_bytes") == 0
    assert relay.http.get(BLOB).content == DATA


@pytest.mark.parametrize(
    "lie", [b"", b"{}", b"[", b"x" * (1 << 25), tiny_sequence(1).manifest.to_bytes()], ids=range(5)
)
def test_a_manifest_that_is_none(origin: Origin, relay: Relayed, lie: bytes) -> None:
    sequence = tiny_sequence(1)
    path = f"/v1/sequences/{sequence.manifest.sequence}/manifest"
    origin.says(path, Reply(body=lie))
    problem(relay.http.get(path), "bad-upstream")
    problem(relay.http.get(path.replace("manifest", "events")), "bad-upstream")
    origin.has(sequence)
    assert relay.http.get(path).content == sequence.manifest.to_bytes()


def test_events_that_are_none_are_asked_for_again(origin: Origin, server: Loopback, relay: Relayed) -> None:
    sequence = tiny_sequence(1)
    path = f"/v1/sequences/{sequence.manifest.sequence}/events"
    good = [message("end", json.dumps({"seq": n, "type": "end"}), f"{n}-0") for n in range(1, 5)]
    lies = [
        Reply(body=opening() + good[0] + b"data: junk\n\n"),
        Reply(body=opening() + good[1] + bytes(1 << 17)),
        Reply(body=b"<html>"),
        Reply(body=opening() + good[1] + good[2], length=10_000),
    ]
    origin.says(path, *lies, Reply(body=opening() + good[3], length=10_000))
    origin.has(sequence)
    with listening(relay, path, "0-0") as events:
        assert [event.id for event in take(events, 4)] == ["1-0", "2-0", "3-0", "4-0"]
    asked = [request.headers["last-event-id"] for request in server.requests if request.path == path]
    assert asked[:5] == ["0-0", "1-0", "2-0", "2-0", "3-0"]


def test_what_is_here_plays_on_when_the_upstream_is_gone(
    origin: Origin, server: Loopback, relay: Relayed, tmp_path: Path
) -> None:
    sequence = tiny_sequence(3)
    name = sequence.manifest.sequence
    origin.has(sequence)

    def play(cache: str) -> list[int]:
        once = Retry(attempts=1)
        with Client(relay.url, key=VIEWER, cache_dir=tmp_path / cache, retry=once) as client:
            return [picture.n for picture in client.pictures(name, threads=1)]

    assert play("a") == [0, 1, 2]
    server.answer = lambda request: Reply(502, b"<html>")
    assert play("b") == [0, 1, 2]
    assert httpx.get(f"{relay.url}/livez").status_code == 200
    problem(relay.http.get(BLOB), "unavailable")
    problem(relay.http.get(f"/v1/sequences/{name}/events"), "unavailable")


def test_without_its_upstream_a_relay_is_not_ready(origin: Origin, relay: Relayed) -> None:
    origin.says("/v1/key", problem_reply("unauthorized", "revoked"))
    answer = httpx.get(f"{relay.url}/readyz")
    assert "not ready: upstream" in str(problem(answer, "unavailable").detail)
    problem(relay.http.get(BLOB), "unauthorized")
