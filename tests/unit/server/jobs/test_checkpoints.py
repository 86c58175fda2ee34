import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from microdose import keys
from microdose.errors import Unavailable
from microdose.resources import Job
from microdose_server.jobs import outcome
from microdose_server.jobs.checkpoints import Checkpoints
from microdose_server.store.blobs import BlobStore, checkpoints
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import read_checkpoint
from microdose_server.store.shelf import Shelf

EVERY_S = 15.0


class Clock:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return checkpoints(tmp_path)


@pytest.fixture
def attempt(bus: redis.Redis, enqueue: Callable[[], Job]) -> Attempt:
    return begin(bus, enqueue())


def begin(bus: redis.Redis, job: Job) -> Attempt:
    begun = outcome.begin(bus, job)
    assert begun is not None
    return begun[1]


def kept(bus: redis.Redis, attempt: Attempt, shelf: Shelf, clock: Clock | None = None) -> Checkpoints:
    return Checkpoints(bus, attempt, shelf, EVERY_S, clock or Clock())


def test_the_next_attempt_finds_the_newest_and_one_file_is_kept(
    bus: redis.Redis, attempt: Attempt, store: BlobStore
) -> None:
    with kept(bus, attempt, store) as first:
        assert first.load() is None
        for data in (b"one", b"two", b"two"):
            first.save(data)
    assert list(store.digests()) == [read_checkpoint(bus, attempt.sequence)]
    with kept(bus, Attempt(attempt.job, attempt.sequence, attempt.token + 1), store) as second:
        assert second.load() == b"two"


def test_an_attempt_that_was_overtaken_replaces_nothing(
    bus: redis.Redis, enqueue: Callable[[], Job], store: BlobStore
) -> None:
    job = enqueue()
    old, new = begin(bus, job), begin(bus, job)
    with kept(bus, new, store) as mine, kept(bus, old, store) as late:
        mine.save(b"of the new")
        late.save(b"of the old")
    with kept(bus, new, store) as mine:
        assert mine.load() == b"of the new"


def test_nothing_is_written_for_a_sequence_that_is_gone(
    bus: redis.Redis, attempt: Attempt, store: BlobStore
) -> None:
    bus.delete(keys.fence(attempt.sequence))
    with kept(bus, attempt, store) as late:
        late.save(b"late")
    assert not bus.exists(keys.checkpoints(attempt.sequence))


@pytest.mark.parametrize("harm", ["gone", "damaged"])
def test_a_file_of_no_use_is_as_none(bus: redis.Redis, attempt: Attempt, store: BlobStore, harm: str) -> None:
    with kept(bus, attempt, store) as run:
        run.save(b"data")
    (digest,) = store.digests()
    if harm == "gone":
        store.discard(digest)
    else:
        store.path(digest).write_bytes(b"damaged")
    with kept(bus, attempt, store) as run:
        assert run.load() is None
        run.save(b"anew")
    assert store.get(read_checkpoint(bus, attempt.sequence) or "") == b"anew"


class Slow:
    """A shelf that takes nothing until it is told, and then fails or not."""

    def __init__(self, error: Exception | None = None) -> None:
        self.told, self.error = threading.Event(), error

    def get(self, digest: str) -> bytes:
        raise NotImplementedError

    def put(self, data: bytes) -> str:
        self.told.wait()
        if self.error is not None:
            raise self.error
        return f"sha256:{64 * '0'}"

    def discard(self, digest: str) -> None:
        raise NotImplementedError


@contextmanager
def slow(error: Exception | None = None) -> Iterator[Slow]:
    shelf = Slow(error)
    try:
        yield shelf
    finally:
        shelf.told.set()


def test_it_is_due_when_the_time_is_over_and_the_last_is_written(
    bus: redis.Redis, attempt: Attempt, clock: Clock
) -> None:
    with slow() as shelf:
        with kept(bus, attempt, shelf, clock) as run:
            assert not run.due()
            clock.now += EVERY_S
            assert run.due()
            run.save(b"data")
            clock.now += EVERY_S
            assert not run.due()
            shelf.told.set()
        assert run.due()


@pytest.mark.parametrize("error", [Unavailable("the API is away"), OSError("the disk is full")])
def test_what_cannot_be_written_stops_nobody(bus: redis.Redis, attempt: Attempt, error: Exception) -> None:
    with slow(error) as shelf, kept(bus, attempt, shelf) as run:
        run.save(b"data")
        shelf.told.set()
    assert read_checkpoint(bus, attempt.sequence) is None


def test_the_end_of_a_job_removes_the_file(bus: redis.Redis, attempt: Attempt, store: BlobStore) -> None:
    with kept(bus, attempt, store) as run:
        run.save(b"data")
    with kept(bus, attempt, store) as run:
        assert run.load() == b"data"
        run.discard()
    assert list(store.digests()) == []
    assert read_checkpoint(bus, attempt.sequence) is None


def test_what_is_still_being_written_at_the_end_goes_too(
    bus: redis.Redis, attempt: Attempt, store: BlobStore
) -> None:
    with kept(bus, attempt, store) as run:
        run.save(b"one")
        run.save(b"two")
        run.discard()
    assert list(store.digests()) == []
