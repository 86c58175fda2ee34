"""A relay behind docker/nginx.conf: nginx sends what the relay has, the relay fetches what it has not."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest

from microdose_server.evaluate.front import Behind, front
from microdose_server.store.blobs import public_blobs
from tests import nginx
from tests.broadcast import Broadcast
from tests.listening import listening
from tests.relays import Relayed, relay, relay_of
from tests.served import Served, problem

__all__ = ["relay", "relay_of"]

DATA = bytes(range(256)) * 2000


@pytest.fixture
def blob(served: Served) -> str:
    """The path of a blob."""
    return f"/v1/blobs/{public_blobs(served.settings.data_dir).put(DATA)}"


@pytest.fixture
def door(relay: Relayed, tmp_path: Path) -> Iterator[Relayed]:
    """The relay, through nginx."""
    nginx.nginx()
    folder = tmp_path / "door"
    folder.mkdir()
    with (
        front(nginx.DOCKER, folder, Behind(relay.url, relay.data / "relay")) as url,
        httpx.Client(base_url=url, headers=relay.http.headers, timeout=60) as client,
    ):
        yield Relayed(url, client, relay.data)


def test_a_blob_is_fetched_once_and_then_sent_from_the_disk(relay: Relayed, door: Relayed, blob: str) -> None:
    first, second = door.http.get(blob), door.http.get(blob)
    assert first.content == second.content == DATA
    assert first.headers["etag"] == second.headers["etag"]
    assert (first.headers.get("x-cache"), second.headers.get("x-cache")) == ("MISS", None)
    shutil.rmtree(relay.data / "relay" / "sha256")
    assert door.http.get(blob).headers["x-cache"] == "MISS"
    assert relay.metric("microdose_fetched_blobs_total") == 2


def test_a_blob_still_needs_a_key(door: Relayed, blob: str) -> None:
    assert door.http.get(blob).status_code == 200
    for headers in ({}, {"Authorization": "Bearer md_no_key"}):
        problem(httpx.get(door.url + blob, headers=headers), "unauthorized")


def test_events_pass_as_they_come(served: Served, door: Relayed) -> None:
    live = Broadcast(served.bus, public_blobs(served.settings.data_dir))
    live.epoch()
    with listening(door, f"/v1/sequences/{live.sequence}/events", "1-0") as events:
        live.picture()
        assert next(events).id == "2-0"
