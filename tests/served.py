"""The real API on loopback with a real Valkey behind it, and what tests do to it again and again."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
import redis

from microdose.manifest import Event, Manifest
from microdose.problem import PROBLEMS, Problem
from microdose.resources import Frame, Job, SequenceCreate
from microdose_server.jobs import outcome
from microdose_server.jobs.publication import make_results
from microdose_server.jobs.queue import JobQueue
from microdose_server.settings import Limits, Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.bus import Attempt, event_id, publish
from microdose_server.store.sequences import Sequences
from tests.live import live_api
from tests.photos import encode, photo
from tests.tiny_base import tiny_sequence

Serve = Callable[..., "Served"]


@dataclass(frozen=True)
class Served:
    """One API: `http` speaks with an admin key, `settings` and `bus` are what lies behind."""

    url: str
    http: httpx.Client
    settings: Settings
    bus: redis.Redis

    def key(self, *scopes: Scope) -> dict[str, str]:
        """The header of a new key."""
        return {"Authorization": f"Bearer {self.token(*scopes)}"}

    def token(self, *scopes: Scope) -> str:
        """A new key."""
        return ApiKeys(self.bus).create(scopes)[1]

    def create(self) -> str:
        """A new, open sequence's id."""
        return Sequences(self.bus).create(SequenceCreate()).id

    def put(
        self, sequence: str, n: int, data: bytes | None = None, headers: dict[str, str] | None = None
    ) -> httpx.Response:
        """PUT a frame, by default a photograph."""
        content = encode(photo(n)) if data is None else data
        return self.http.put(f"/v1/sequences/{sequence}/frames/{n}", content=content, headers=headers)

    def queued(self) -> Job:
        """A job for a sequence of one frame."""
        sequence = self.create()
        frame = Frame(n=0, digest=f"sha256:{64 * '0'}", size=0, width=96, height=64)
        Sequences(self.bus).put_frame(sequence, frame, Limits())
        return JobQueue(self.bus).enqueue(sequence)

    def begin(self, job: Job) -> tuple[Job, Attempt]:
        """Start a job, as its worker would."""
        begun = outcome.begin(self.bus, job)
        assert begun is not None
        return begun

    def publish(self, job: Job, pictures: int = 3) -> Manifest:
        """Do a job: publish a tiny sequence, blobs included."""
        _, attempt = self.begin(job)
        tiny = tiny_sequence(pictures, id=job.sequence)
        for data in tiny.blobs.values():
            public_blobs(self.settings.data_dir).put(data)
        events = [Event(seq=1, type="init", base=tiny.manifest.base)]
        events += [Event(seq=n + 2, type="segment", segment=s) for n, s in enumerate(tiny.manifest.segments)]
        events += [Event(seq=pictures + 2, type="end")]
        manifest = tiny.manifest.model_copy(update={"last_event_id": event_id(len(events))})
        publish(self.bus, attempt, manifest, events, make_results(manifest, {}))
        outcome.follow(self.bus, job.id)
        return manifest

    def originals(self) -> list[Path]:
        """The files of all originals that are kept."""
        return [path for path in (self.settings.data_dir / "originals").rglob("*") if path.is_file()]


def events_path(sequence: str) -> str:
    """Where its events are."""
    return f"/v1/sequences/{sequence}/events"


def manifest_path(sequence: str) -> str:
    """Where its manifest is."""
    return f"/v1/sequences/{sequence}/manifest"


@contextmanager
def served_by(url: str, settings: Settings, bus: redis.Redis) -> Iterator[Served]:
    """The API at `url`, spoken to with a new admin key."""
    _, token = ApiKeys(bus).create([Scope.ADMIN])
    headers = {"Authorization": f"Bearer {token}"}
    with httpx.Client(base_url=url, headers=headers, timeout=30) as http:
        yield Served(url, http, settings, bus)


@pytest.fixture
def serve(redis_url: str, bus: redis.Redis, tmp_path: Path) -> Iterator[Serve]:
    """Start an API with these limits; it ends with the test."""
    with ExitStack() as stack:

        def start(**limits: Any) -> Served:
            settings = Settings(data_dir=tmp_path / "data", redis_url=redis_url, limits=Limits(**limits))
            url = stack.enter_context(live_api(settings))
            return stack.enter_context(served_by(url, settings, bus))

        yield start


@pytest.fixture(scope="session")
def standing_api(redis_url: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, Settings]]:
    """One API with the default limits for all tests that do not stop it."""
    settings = Settings(data_dir=tmp_path_factory.mktemp("data"), redis_url=redis_url)
    with live_api(settings) as url:
        yield url, settings


@pytest.fixture
def served(standing_api: tuple[str, Settings], bus: redis.Redis) -> Iterator[Served]:
    """The standing API with nothing in it."""
    url, settings = standing_api
    for path in settings.data_dir.rglob("*"):
        if path.is_file():
            path.unlink(missing_ok=True)  # an upload that was broken off may be removing its own
    with served_by(url, settings, bus) as served:
        yield served


def problem(answer: httpx.Response, slug: str) -> Problem:
    """The problem that `answer` must be, checked for everything that every problem has."""
    assert answer.headers["content-type"] == "application/problem+json", answer.text
    found = Problem.model_validate_json(answer.content)
    assert (found.slug, found.status) == (slug, answer.status_code), answer.text
    assert PROBLEMS[slug] == (found.status, found.title)
    assert found.request_id == answer.headers["x-request-id"]
    assert found.instance == answer.request.url.path
    return found


def unknown() -> str:
    """An id that nothing has; always the same, as processes that share the tests must name them alike."""
    return "01jd3q8v6m4x2z7k9w5t0r1yhc"
