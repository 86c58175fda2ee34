from pathlib import Path

import pytest
import redis

from benchmarks.parts import judge as judging
from benchmarks.parts.judge import judge, judge_view
from benchmarks.parts.tally import Tally
from microdose import keys
from microdose.manifest import Manifest
from microdose_client import Client
from microdose_server.store.blobs import public_blobs
from microdose_server.store.bus import read_stream
from tests.served import Served, served, standing_api
from tests.valkey import bus, redis_url

__all__ = ["bus", "redis_url", "served", "standing_api"]


@pytest.fixture
def manifest(served: Served, monkeypatch: pytest.MonkeyPatch) -> Manifest:
    """A published sequence of three pictures, of whatever size."""
    monkeypatch.setattr(judging, "is_sound", lambda picture: True)
    return served.publish(served.queued(), 3)


def judged(served: Served, sequence: str, cache: Path, pictures: int = 3) -> Tally:
    tally = Tally()
    key = served.http.headers["authorization"].removeprefix("Bearer ")
    with Client(served.url, key=key, cache_dir=cache) as client:
        judge(client, served.bus, sequence, pictures, tally)
    return tally


def test_a_sound_sequence_has_nothing_against_it(served: Served, manifest: Manifest, tmp_path: Path) -> None:
    assert judged(served, manifest.sequence, tmp_path) == Tally()


def test_a_picture_of_another_form_is_corrupt(served: Served, tmp_path: Path) -> None:
    assert judged(served, served.publish(served.queued(), 3).sequence, tmp_path).corrupt == 3


def test_a_missing_picture_is_lost(served: Served, manifest: Manifest, tmp_path: Path) -> None:
    assert judged(served, manifest.sequence, tmp_path, pictures=5).lost == 2


def test_what_is_told_twice_is_doubled(
    served: Served, bus: redis.Redis, manifest: Manifest, tmp_path: Path
) -> None:
    events = keys.events(manifest.sequence)
    (_, again), *_ = read_stream(bus, events, "1-0", count=1)
    bus.xadd(events, {"event": again}, id="99-0")
    assert judged(served, manifest.sequence, tmp_path).doubled == 2  # a picture, and an event too many


def test_a_damaged_blob_is_corrupt(served: Served, manifest: Manifest, tmp_path: Path) -> None:
    path = public_blobs(served.settings.data_dir).path(manifest.segments[1].blob.digest)
    path.write_bytes(bytes(path.stat().st_size))
    tally = judged(served, manifest.sequence, tmp_path)
    assert tally.corrupt == 2
    assert manifest.segments[1].blob.digest in tally.why[0]


@pytest.mark.parametrize(
    ("seen", "lost", "doubled"),
    [([0, 1, 2], 0, 0), ([0, 2], 1, 0), ([0, 1, 1, 2], 0, 1), ([1, 0, 2], 0, 1), ([], 3, 0)],
)
def test_a_viewer_sees_each_picture_once_and_in_order(seen: list[int], lost: int, doubled: int) -> None:
    tally = Tally()
    judge_view("a sequence", seen, 3, tally)
    assert (tally.lost, tally.doubled, tally.corrupt) == (lost, doubled, 0)
