"""Back-up as the documents have it: stop, copy the data folder, start elsewhere; nothing differs."""

import shutil
from pathlib import Path

import numpy as np
import redis
from numpy.typing import NDArray

from microdose_client import Client
from microdose_server.maintenance import collect
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect
from tests.live import live_api
from tests.served import served_by


def pictures(url: str, key: str, sequence: str, cache: Path) -> list[NDArray[np.uint8]]:
    with Client(url, key=key, cache_dir=cache) as client:
        return [picture.pixels for picture in client.pictures(sequence, threads=1)]


def test_a_copy_started_elsewhere_decodes_the_same(tmp_path: Path) -> None:
    here, there = tmp_path / "here", tmp_path / "there"
    with EmbeddedValkey(here) as valkey, connect(valkey.url) as bus:
        settings = Settings(data_dir=here, redis_url=valkey.url)
        _, key = ApiKeys(bus).create([Scope.VIEW])
        with live_api(settings) as url, served_by(url, settings, bus) as served:
            sequence = served.publish(served.queued(), 2).sequence
            before = pictures(url, key, sequence, tmp_path / "cache")
    shutil.copytree(here, there, ignore=shutil.ignore_patterns("*.sock"))
    shutil.rmtree(here)
    with EmbeddedValkey(there) as valkey, connect(valkey.url) as bus:
        settings = Settings(data_dir=there, redis_url=valkey.url)
        with live_api(settings) as url:
            after = pictures(url, key, sequence, tmp_path / "other cache")
        check_whole(settings, bus)
    assert len(after) == len(before) == 2
    assert all(np.array_equal(one, other) for one, other in zip(before, after, strict=True))


def check_whole(settings: Settings, bus: redis.Redis) -> None:
    """The copy's garbage collection finds all that it needs, and removes nothing."""
    blobs = set(public_blobs(settings.data_dir).digests())
    done = collect(settings, bus)
    assert done is not None
    assert done.blobs == 0
    assert set(public_blobs(settings.data_dir).digests()) == blobs
