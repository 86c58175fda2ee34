"""Jobs that are begun, in the hands of a worker."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import redis

from microdose.resources import DoseChoice, Frame, SequenceCreate
from microdose_server.jobs import outcome
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Settings
from microdose_server.store.blobs import originals
from microdose_server.store.sequences import Sequences
from tests.photos import Pixels, encode, photo

Give = Callable[[], Assignment]


def begin(client: redis.Redis, settings: Settings, pictures: Sequence[Pixels], **wishes: Any) -> Assignment:
    """Begin a job on these pictures."""
    sequence = Sequences(client).create(SequenceCreate(**wishes)).id
    for n, pixels in enumerate(pictures):
        data = encode(pixels)
        digest = originals(settings.data_dir).put(data)
        frame = Frame(n=n, digest=digest, size=len(data), width=96, height=64, name=f"{n}.png")
        Sequences(client).put_frame(sequence, frame, settings.limits)
    begun = outcome.begin(client, JobQueue(client).enqueue(sequence))
    assert begun is not None
    job, attempt = begun
    return Assignment(client, settings, attempt, Reporter(Jobs(client), job, attempt.token, every_s=0))


@pytest.fixture
def give(bus: redis.Redis, tmp_path: Path) -> Give:
    """Begin a job on two photographs, without a dose."""

    def make() -> Assignment:
        pictures = [photo(0), photo(1)]
        return begin(bus, Settings(data_dir=tmp_path), pictures, name="photos", dose=DoseChoice.NONE)

    return make


def again(given: Assignment) -> Assignment:
    """The next attempt at the same job."""
    begun = outcome.begin(given.client, Jobs(given.client).get(given.attempt.job))
    assert begun is not None
    job, attempt = begun
    report = Reporter(Jobs(given.client), job, attempt.token, every_s=0)
    return Assignment(given.client, given.settings, attempt, report)
