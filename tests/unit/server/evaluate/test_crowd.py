"""A crowd of viewers, in its own process, before the real API."""

from pathlib import Path

import pytest
import redis

from microdose.errors import Unavailable
from microdose_server.evaluate.crowd import Fetch, Follow, crowd
from microdose_server.evaluate.fanout import address
from microdose_server.evaluate.station import Station
from tests.served import Served, served, standing_api
from tests.tiny_base import tiny_base, tiny_segment
from tests.valkey import bus, redis_url

__all__ = ["bus", "redis_url", "served", "standing_api"]
KEYS = 3


@pytest.fixture
def station(served: Served) -> Station:
    base = tiny_base()
    return Station(served.bus, served.settings, base, [tiny_segment(base, seed=seed) for seed in range(4)])


def keys(served: Served) -> list[str]:
    return [served.http.headers["authorization"].removeprefix("Bearer ")] * KEYS


def test_each_sees_everything_once(served: Served, station: Station) -> None:
    with crowd() as viewers:
        viewers.follow(Follow(*address(served.url), station.sequence, keys(served)))
        for _ in range(4):
            station.show()
        station.upgrade()
        station.show()
        station.end()
        seen = viewers.seen()
    assert seen.numbers == KEYS * [[0, 1, 2, 3, 4]]
    assert len(seen.delays_ms) == KEYS * 5
    assert min(seen.delays_ms) > 0


def test_what_they_fetch_is_counted(served: Served, station: Station) -> None:
    station.show()
    blobs = {f"/v1/blobs/{digest}": digest for digest in station.blobs}
    with crowd() as viewers:
        taken = viewers.fetch(Fetch(*address(served.url), blobs, 0.2, keys(served)))
    assert taken.seconds >= 0.2
    assert taken.size > 0


@pytest.mark.parametrize("digest", [f"sha256:{64 * '0'}", "sha256:other"])
def test_bytes_that_are_not_what_they_should_be_end_it(
    served: Served, station: Station, digest: str, capfd: pytest.CaptureFixture[str]
) -> None:
    station.show()
    path = f"/v1/blobs/{station.blobs[0]}" if digest.endswith("0") else f"/v1/blobs/{digest}"
    with crowd() as viewers, pytest.raises(Unavailable, match="the viewers have died"):
        viewers.fetch(Fetch(*address(served.url), {path: digest}, 5.0, keys(served)))
    assert digest in capfd.readouterr().err


def test_without_a_process_there_is_no_answer(bus: redis.Redis, tmp_path: Path) -> None:
    with crowd() as viewers, pytest.raises(Unavailable, match="the viewers have died"):
        viewers.fetch(Fetch("127.0.0.1", 1, {}, 1.0, ["key"]))
