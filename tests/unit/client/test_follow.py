"""Following through trouble: what passes is waited out, what does not is named, nothing goes on for ever."""

import asyncio
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from microdose.errors import CorruptStream, NotFound, Removed, Unavailable
from microdose.manifest import Event
from microdose.patience import TIMEOUTS
from microdose.problem import ProblemError
from microdose_client import AsyncClient, Retry, Timeouts
from tests.loopback import Loopback, Reply, Request, problem_reply
from tests.tiny_base import TinySequence, tiny_sequence

PATIENT = Retry(attempts=1, first_s=0.001, cap_s=0.002, outage_s=60)
QUICK = replace(PATIENT, outage_s=0.1)


@pytest.fixture(scope="module")
def sequence() -> TinySequence:
    return tiny_sequence(3)


class Site:
    """A server with one sequence of which two pictures are in the manifest; the test scripts its events."""

    def __init__(self, sequence: TinySequence) -> None:
        whole = sequence.manifest
        self.sequence, self.blobs = whole.sequence, sequence.blobs
        self.third = whole.segments[2]
        changes = {"segments": whole.segments[:2], "seq": 3, "last_event_id": "3-0", "ended": False}
        self.manifest = whole.model_copy(update=changes)
        self.after: list[str] = []
        self.away = Counter[str]()  # of each path: how often it is asked for in vain
        self.events: Callable[[int], Reply] = lambda turn: Reply(body=b"")

    def __call__(self, request: Request) -> Reply:
        if self.away[request.path]:
            self.away[request.path] -= 1
            return problem_reply("unavailable", "later")
        if request.path.endswith("/manifest"):
            return Reply(body=self.manifest.to_bytes())
        if request.path.endswith("/events"):
            self.after.append(request.headers["last-event-id"])
            return self.events(len(self.after))
        return Reply(body=self.blobs[request.path.removeprefix("/v1/blobs/")])


@pytest.fixture
def site(sequence: TinySequence) -> Site:
    return Site(sequence)


@pytest.fixture
def url(site: Site) -> Iterator[str]:
    with Loopback(site) as server:
        yield server.url


def message(event: Event, seq: int | None = None) -> bytes:
    number = event.seq if seq is None else seq
    return b"event: x\ndata: " + event.to_bytes() + f"\nid: {number}-0\n\n".encode()


def end(seq: int) -> bytes:
    return message(Event(seq=seq, type="end"))


def play(
    url: str, site: Site, folder: Path, retry: Retry = PATIENT, timeouts: Timeouts = TIMEOUTS
) -> list[int]:
    async def work() -> list[int]:
        async with AsyncClient(url, cache_dir=folder, retry=retry, timeouts=timeouts) as client:
            return [picture.n async for picture in client.follow(site.sequence, threads=1)]

    return asyncio.run(work())


def test_cut_off_in_the_middle_of_an_event_it_goes_on_from_the_last_whole_one(
    url: str, site: Site, tmp_path: Path
) -> None:
    segment = message(Event(seq=4, type="segment", segment=site.third))
    turns = [segment[:-5], segment + end(5)[:-20], end(5)]
    site.events = lambda turn: Reply(body=turns[turn - 1])
    assert play(url, site, tmp_path) == [0, 1, 2]
    assert site.after == ["3-0", "3-0", "4-0"]


@pytest.mark.parametrize("slug", ["unavailable", "internal", "too-many-requests"])
def test_a_refusal_that_may_pass_is_waited_out(url: str, site: Site, tmp_path: Path, slug: str) -> None:
    site.events = lambda turn: problem_reply(slug, "later") if turn < 4 else Reply(body=end(4))
    assert play(url, site, tmp_path) == [0, 1]
    assert len(site.after) == 4


def test_an_outage_while_pictures_wait_is_waited_out(url: str, site: Site, tmp_path: Path) -> None:
    site.events = lambda turn: Reply(body=end(4))
    site.away.update({f"/v1/blobs/{each.digest}": 3 for each in site.manifest.descriptors()})
    assert play(url, site, tmp_path) == [0, 1]
    assert site.away.total() == 0


def test_an_outage_while_a_missing_picture_is_looked_for_is_waited_out(site: Site, tmp_path: Path) -> None:
    first, lost = site.manifest.segments
    site.events = lambda turn: Reply(body=end(4))

    def answer(request: Request) -> Reply:
        if not request.path.endswith(lost.blob.digest):
            return site(request)
        site.manifest = site.manifest.model_copy(update={"segments": (first,)})  # the window moves on
        site.away[f"/v1/sequences/{site.sequence}/manifest"] = 3
        return problem_reply("not-found", "no such blob")

    with Loopback(answer) as server:
        assert play(server.url, site, tmp_path) == [0]
    assert site.away.total() == 0


@pytest.mark.parametrize(
    ("slug", "error"),
    [("forbidden", ProblemError), ("unauthorized", ProblemError), ("not-found", NotFound), ("gone", Removed)],
)
def test_a_refusal_that_will_not_pass_is_final(
    url: str, site: Site, tmp_path: Path, slug: str, error: type[Exception]
) -> None:
    site.events = lambda turn: problem_reply(slug, "never")
    with pytest.raises(error, match="never"):
        play(url, site, tmp_path)
    assert len(site.after) == 1


def test_reset_sends_to_the_manifest(url: str, site: Site, sequence: TinySequence, tmp_path: Path) -> None:
    def events(turn: int) -> Reply:
        changes = {"segments": sequence.manifest.segments, "seq": 9, "last_event_id": "9-0"}
        site.manifest = site.manifest.model_copy(update=changes)
        return Reply(body=b"event: reset\ndata: {}\nid: 9-0\n\n" if turn == 1 else end(10))

    site.events = events
    assert play(url, site, tmp_path) == [0, 1, 2]
    assert site.after == ["3-0", "9-0"]


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"event: bye\ndata: {}\n\n",
        b"event: reset\ndata: {}\n\n",
        message(Event(seq=99, type="end")),
        b'event: x\ndata: {"seq":4,"type":"dance"}\nid: 4-0\n\n',
        b": ping\n\n" + message(Event(seq=99, type="end")),
    ],
)
def test_a_server_that_never_gets_anywhere_is_given_up(
    url: str, site: Site, tmp_path: Path, body: bytes
) -> None:
    site.events = lambda turn: Reply(body=body)
    with pytest.raises(Unavailable, match="nothing new for"):
        play(url, site, tmp_path, QUICK)
    assert len(site.after) >= 2


@pytest.mark.parametrize(
    "body",
    [
        b"data: {}\n\n",
        b"data: \xff\n\n",
        b"<html>" * 20_000,
        'event: x\ndata: {"seq":4,"type":"discontinuity"}\nid: \xe9\n\n'.encode(),
    ],
)
def test_what_is_no_event_stream_is_named(url: str, site: Site, tmp_path: Path, body: bytes) -> None:
    site.events = lambda turn: Reply(body=body)
    with pytest.raises(CorruptStream):
        play(url, site, tmp_path)


def test_a_log_that_falls_silent_is_given_up(url: str, site: Site, tmp_path: Path) -> None:
    over = threading.Event()
    site.events = lambda turn: Reply(length=1, silence=over)
    with pytest.raises(Unavailable, match="nothing new for"):
        play(url, site, tmp_path, QUICK, Timeouts(silence=0.05))
    over.set()
    assert len(site.after) >= 2
