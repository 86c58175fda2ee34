import asyncio

import pytest
import redis

from microdose import keys
from microdose.base import Descriptor
from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.errors import Fenced
from microdose.ids import new_id
from microdose.manifest import Event, Manifest, parse_manifest
from microdose.resources import Frame, Results, SequenceCreate, SequenceState
from microdose_client.bus import Bus
from microdose_server.settings import Limits
from microdose_server.store import bus as store
from microdose_server.store.bus import Attempt
from microdose_server.store.redis import text
from microdose_server.store.sequences import Sequences
from tests.streams import entries
from tests.tiny_base import tiny_sequence
from tests.valkey import refusing_writes


@pytest.fixture
def attempt(bus: redis.Redis) -> Attempt:
    """A job at work on a sequence."""
    sequences, job = Sequences(bus), new_id()
    sequence = sequences.create(SequenceCreate()).id
    sequences.put_frame(sequence, Frame(n=0, digest=digest_of(b""), size=0, width=16, height=16), Limits())
    sequences.queue(sequence, job, lambda pipeline: None)
    started = sequences.take_over(sequence, job, SequenceState.RUNNING)
    assert started is not None
    return started


def make_manifest(sequence: str) -> Manifest:
    return tiny_sequence(1, id=sequence).manifest.model_copy(update={"last_event_id": "3-0"})


def make_events(manifest: Manifest) -> list[Event]:
    segment = Event(seq=2, type="segment", segment=manifest.segments[0])
    return [Event(seq=1, type="init", base=manifest.base), segment, Event(seq=3, type="end")]


def make_results(manifest: Manifest) -> Results:
    return Results(pictures=1, pixels=960, bytes=manifest.bytes, bpp_total=1.5, dose_kind=DoseKind.FULL)


def publish(client: redis.Redis, attempt: Attempt) -> str:
    manifest = make_manifest(attempt.sequence)
    return store.publish(client, attempt, manifest, make_events(manifest), make_results(manifest))


def test_manifest_events_and_state_appear_together(bus: redis.Redis, attempt: Attempt) -> None:
    assert store.read_manifest(bus, attempt.sequence) is None
    assert publish(bus, attempt) == "1-0"
    manifest = make_manifest(attempt.sequence)
    assert parse_manifest(store.read_manifest(bus, attempt.sequence) or b"") == manifest
    expected = [(store.event_id(event.seq), event.to_bytes()) for event in make_events(manifest)]
    assert entries(bus, keys.events(attempt.sequence)) == expected
    sequence = Sequences(bus).get(attempt.sequence)
    assert (sequence.state, sequence.results) == (SequenceState.PUBLISHED, make_results(manifest))


def test_a_repeat_changes_nothing_and_answers_the_same(bus: redis.Redis, attempt: Attempt) -> None:
    assert publish(bus, attempt) == publish(bus, attempt)
    assert len(entries(bus, keys.events(attempt.sequence))) == 3


def test_an_older_attempt_publishes_nothing(bus: redis.Redis, attempt: Attempt) -> None:
    newer = Sequences(bus).take_over(attempt.sequence, attempt.job, SequenceState.RUNNING)
    with pytest.raises(Fenced):
        publish(bus, attempt)
    assert store.read_manifest(bus, attempt.sequence) is None
    assert entries(bus, keys.events(attempt.sequence)) == []
    assert newer is not None
    publish(bus, newer)


def test_a_cancelled_job_publishes_nothing(bus: redis.Redis, attempt: Attempt) -> None:
    Sequences(bus).take_over(attempt.sequence, attempt.job, SequenceState.CANCELLED)
    with pytest.raises(Fenced):
        publish(bus, attempt)


def test_a_removed_sequence_is_not_published_into(bus: redis.Redis, attempt: Attempt) -> None:
    Sequences(bus).delete(attempt.sequence)
    with pytest.raises(Fenced):
        publish(bus, attempt)
    left = [key for key in map(text, bus.keys("*")) if attempt.sequence in key]
    assert left == [keys.events(attempt.sequence)]


def test_a_published_sequence_cannot_be_taken_over(bus: redis.Redis, attempt: Attempt) -> None:
    publish(bus, attempt)
    assert Sequences(bus).take_over(attempt.sequence, attempt.job, SequenceState.FAILED) is None


def test_who_follows_from_the_manifest_misses_nothing(bus: redis.Redis, attempt: Attempt) -> None:
    publish(bus, attempt)
    manifest = parse_manifest(store.read_manifest(bus, attempt.sequence) or b"")
    assert entries(bus, keys.events(attempt.sequence), manifest.last_event_id) == []
    assert len(entries(bus, keys.events(attempt.sequence), "1-0")) == 2


@pytest.mark.parametrize("size", [0, 1, keys.CHUNK, keys.CHUNK + 1, 3 * keys.CHUNK])
def test_hot_copies_travel_in_chunks_and_expire(bus: redis.Redis, size: int) -> None:
    data = (b"0123456789abcdef" * (size // 16 + 1))[:size]
    digest = digest_of(data)
    store.put_hot_blob(bus, digest, data, "application/x-test", seconds=60)
    descriptor = Descriptor(media_type="application/x-test", digest=digest, size=size)
    assert asyncio.run(Bus(bus).blob(descriptor)) == data
    assert int(bus.hget(keys.blob_meta(digest), "size") or -1) == size
    assert all(0 < bus.ttl(key) <= 60 for key in bus.keys("md:pub:*"))
    assert all(bus.strlen(key) <= keys.CHUNK for key in bus.keys("*") if bus.type(key) == b"string")


@pytest.mark.parametrize(("times", "copied"), [(1.2, False), (4.0, True)])
def test_hot_copies_leave_room_for_what_is_nowhere_else(
    bus: redis.Redis, caplog: pytest.LogCaptureFixture, times: float, copied: bool
) -> None:
    bus.config_set("maxmemory", int(times * bus.info("memory")["used_memory"]))
    try:
        store.put_hot_blob(bus, digest_of(b"data"), b"data", "application/x-test", seconds=60)
        bus.set("a record", 1)
    finally:
        bus.config_set("maxmemory", 0)
    assert bool(bus.exists(keys.blob_meta(digest_of(b"data")))) == copied
    assert (digest_of(b"data") in caplog.text) != copied


def test_a_refused_hot_copy_is_gone_without(bus: redis.Redis, caplog: pytest.LogCaptureFixture) -> None:
    with refusing_writes(bus):
        store.put_hot_blob(bus, digest_of(b"data"), b"data", "application/x-test", seconds=60)
    assert digest_of(b"data") in caplog.text
    assert bus.keys("md:pub:*") == []
