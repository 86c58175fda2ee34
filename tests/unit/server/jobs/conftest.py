from collections.abc import Callable

import pytest
import redis

from microdose.digest import digest_of
from microdose.resources import Frame, Job, SequenceCreate
from microdose_server.jobs.queue import JobQueue
from microdose_server.settings import Limits
from microdose_server.store.sequences import Sequences
from tests.assigned import give
from tests.stage import stage
from tests.valkey import bus, redis_url

__all__ = ["bus", "give", "redis_url", "stage"]


@pytest.fixture
def enqueue(bus: redis.Redis) -> Callable[[], Job]:
    """Queue a job for a new sequence of one frame."""

    def make() -> Job:
        sequence = Sequences(bus).create(SequenceCreate()).id
        frame = Frame(n=0, digest=digest_of(b""), size=0, width=16, height=16)
        Sequences(bus).put_frame(sequence, frame, Limits())
        return JobQueue(bus).enqueue(sequence)

    return make
