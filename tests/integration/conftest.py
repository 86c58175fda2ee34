"""What the tests of whole programs and servers share."""

from pathlib import Path

import pytest

from microdose_server.store.blobs import public_blobs
from tests.broadcast import Broadcast, on_the_air
from tests.programs import start
from tests.served import Served, serve, served, standing_api
from tests.valkey import bus, redis_url
from tests.workers import start_worker

__all__ = ["bus", "redis_url", "serve", "served", "standing_api", "start", "start_worker"]


@pytest.fixture
def no_settings(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An environment that tells a client nothing, and an empty cache."""
    for name in ("MICRODOSE_SERVER", "MICRODOSE_REDIS", "MICRODOSE_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("MICRODOSE_CACHE", str(tmp_path / "cache"))


@pytest.fixture
def live(served: Served) -> Broadcast:
    """A live sequence of the standing API, with its first picture."""
    return on_the_air(served.bus, public_blobs(served.settings.data_dir))
