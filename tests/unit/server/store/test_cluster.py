"""On a cluster: all keys of one sequence, and all of one blob, are in one slot, so that they change together.

A server needs a Redis that is none, since its queue is on many slots. Viewers may read from one.
"""

from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
import redis

from microdose import keys
from microdose.errors import Fenced
from microdose.ids import new_id
from microdose.manifest import Event, parse_manifest
from microdose.resources import Sequence, SequenceCreate, SequenceState
from microdose_client import Client
from microdose_server.check import check
from microdose_server.jobs.publication import make_results
from microdose_server.settings import Settings
from microdose_server.store.bus import Attempt, publish, put_hot_blob, read_manifest
from microdose_server.store.fields import to_fields
from microdose_server.store.redis import connect
from microdose_server.store.sequences import Sequences
from tests.streams import entries
from tests.tiny_base import TinySequence, tiny_sequence
from tests.valkey import cluster


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with cluster(tmp_path_factory.mktemp("cluster")) as url:
        yield url


@pytest.fixture
def bus(url: str) -> Iterator[redis.Redis]:
    with connect(url) as client:
        client.flushall()
        yield client


@pytest.fixture
def tiny() -> TinySequence:
    made = tiny_sequence(2, id=new_id())
    manifest = made.manifest.model_copy(update={"last_event_id": "3-0"})
    return replace(made, manifest=manifest)


def begin(bus: redis.Redis, sequence: str, job: str) -> Attempt:
    """A job at work on a sequence whose record stands alone, without the index of all sequences."""
    wish = SequenceCreate().model_dump()
    made = Sequence(id=sequence, state=SequenceState.QUEUED, created=datetime.now(UTC), job=job, **wish)
    bus.hset(keys.sequence(sequence), mapping=to_fields(made, exclude={"frames"}))
    started = Sequences(bus).take_over(sequence, job, SequenceState.RUNNING)
    assert started is not None
    return started


def put(bus: redis.Redis, attempt: Attempt, tiny: TinySequence) -> str:
    segments = [Event(seq=n + 2, type="segment", segment=s) for n, s in enumerate(tiny.manifest.segments)]
    events = [Event(seq=1, type="init", base=tiny.manifest.base), *segments]
    for digest, data in tiny.blobs.items():
        put_hot_blob(bus, digest, data, "application/octet-stream", seconds=600)
    return publish(bus, attempt, tiny.manifest, events, make_results(tiny.manifest, {}))


def test_publishing_is_one_step_on_one_slot(bus: redis.Redis, tiny: TinySequence) -> None:
    old = begin(bus, tiny.manifest.sequence, new_id())
    new = Sequences(bus).take_over(old.sequence, old.job, SequenceState.RUNNING)
    assert new is not None
    with pytest.raises(Fenced):
        put(bus, old, tiny)
    assert put(bus, new, tiny) == put(bus, new, tiny) == "1-0"
    assert parse_manifest(read_manifest(bus, old.sequence) or b"") == tiny.manifest
    assert len(entries(bus, keys.events(old.sequence))) == 3
    assert Sequences(bus).get(old.sequence).state is SequenceState.PUBLISHED


def test_each_kind_of_key_is_where_its_like_are(bus: redis.Redis, tiny: TinySequence) -> None:
    sequence, digest = tiny.manifest.sequence, tiny.manifest.base.digest
    of_sequence = (keys.fence, keys.sequence, keys.frames, keys.manifest, keys.events)
    of_blob = [keys.blob_meta(digest), *(keys.blob_chunk(digest, i) for i in range(64))]
    for names in ([name(sequence) for name in of_sequence], of_blob):
        assert len({bus.cluster("KEYSLOT", name) for name in names}) == 1


def test_a_viewer_plays_from_it(bus: redis.Redis, url: str, tiny: TinySequence, tmp_path: Path) -> None:
    put(bus, begin(bus, tiny.manifest.sequence, new_id()), tiny)
    with Client(redis=url, cache_dir=tmp_path) as client:
        assert len(list(client.pictures(tiny.manifest.sequence, threads=1))) == 2


def test_a_server_refuses_it(bus: redis.Redis, url: str, tmp_path: Path) -> None:
    found = {each.name: each for each in check(Settings(redis_url=url, data_dir=tmp_path))}
    assert not found["redis"].good
    assert "cluster" in found["redis"].seen
