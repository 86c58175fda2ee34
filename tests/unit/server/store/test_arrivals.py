"""Frames of a live sequence that has gone on, or is gone."""

import pytest
import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.errors import NotFound
from microdose.resources import Frame, SequenceCreate
from microdose_server.settings import Limits
from microdose_server.store import arrivals
from microdose_server.store.sequences import Sequences

OWNER = "key"


@pytest.fixture
def sequence(bus: redis.Redis) -> str:
    """A live one with two frames of 10 bytes."""
    found = Sequences(bus).create(SequenceCreate(live=True), OWNER).id
    for n in range(2):
        frame = Frame(n=n, digest=digest_of(b""), size=10, width=16, height=16)
        Sequences(bus).put_frame(found, frame, Limits())
    return found


def held(bus: redis.Redis) -> int:
    return int(bus.hget(keys.api_usage(OWNER), "bytes") or 0)


def test_what_is_forgotten_is_given_back_once(bus: redis.Redis, sequence: str) -> None:
    for _ in range(2):  # as after an answer that was lost
        arrivals.forget(bus, sequence, [0])
        assert held(bus) == 10
    assert [frame.n for frame in Sequences(bus).frames(sequence)] == [1]
    assert bus.hmget(keys.sequence(sequence), "pixels", "size") == [b"256", b"10"]
    Sequences(bus).delete(sequence)
    assert held(bus) == 0


def test_a_complete_sequence_says_so(bus: redis.Redis, sequence: str) -> None:
    arrivals.complete(bus, sequence)
    assert arrivals.look(bus, sequence, 2) == arrivals.Arrived(None, complete=True)


def test_a_removed_sequence_stays_removed(bus: redis.Redis, sequence: str) -> None:
    Sequences(bus).delete(sequence)
    arrivals.forget(bus, sequence, [0, 1])
    with pytest.raises(NotFound, match=sequence):
        arrivals.complete(bus, sequence)
    assert not bus.exists(keys.sequence(sequence))
    assert held(bus) == 0
