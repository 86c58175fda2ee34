"""What is still being filled, in work or published is never taken for abandoned."""

from datetime import UTC, datetime

import redis

from microdose import keys
from microdose.digest import digest_of
from microdose.ids import new_id
from microdose.resources import Frame, SequenceCreate, SequenceState
from microdose_server.settings import Limits
from microdose_server.store.abandoned import forget_abandoned
from microdose_server.store.sequences import NOBODY, Sequences

FRAME = Frame(n=0, digest=digest_of(b""), size=100, width=16, height=16)


def test_an_empty_one_goes_by_the_time_it_was_opened(bus: redis.Redis) -> None:
    before = datetime.now(UTC)
    live = Sequences(bus).create(SequenceCreate(live=True))
    assert forget_abandoned(bus, before) == 0
    assert forget_abandoned(bus, datetime.now(UTC)) == 1
    assert live not in Sequences(bus).page().items


def test_one_with_frames_goes_by_the_last_of_them_and_gives_its_quota_back(bus: redis.Redis) -> None:
    sequence = Sequences(bus).create(SequenceCreate()).id
    opened = datetime.now(UTC)
    Sequences(bus).put_frame(sequence, FRAME, Limits())
    assert forget_abandoned(bus, opened) == 0
    assert forget_abandoned(bus, datetime.now(UTC)) == 1
    assert bus.hgetall(keys.api_usage(NOBODY)) == {b"bytes": b"0", b"sequences": b"0"}


def test_what_has_a_job_or_had_one_stays(bus: redis.Redis) -> None:
    sequences = Sequences(bus)
    for state in (SequenceState.QUEUED, SequenceState.RUNNING, SequenceState.FAILED):
        sequence, job = sequences.create(SequenceCreate()).id, new_id()
        sequences.put_frame(sequence, FRAME, Limits())
        sequences.queue(sequence, job, lambda pipeline: None)
        sequences.take_over(sequence, job, state)
    assert forget_abandoned(bus, datetime.now(UTC)) == 0
    assert len(sequences.page().items) == 3
