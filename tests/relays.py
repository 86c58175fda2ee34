"""A real relay of the real API, and what tests ask of both."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from microdose.manifest import Manifest
from microdose_server.settings import Limits, Settings
from microdose_server.store.apikeys import Scope
from tests.live import live_relay
from tests.served import Served

Relays = Callable[..., "Relayed"]


@dataclass(frozen=True)
class Relayed:
    """A relay: `http` speaks to it with a viewer's key; `data` is its data folder."""

    url: str
    http: httpx.Client
    data: Path

    def metric(self, name: str) -> float:
        """The present value of a metric without labels."""
        return metric(self.url, name)


@pytest.fixture
def relay_of(served: Served, tmp_path: Path) -> Iterator[Relays]:
    """Start a relay of the server at a URL; it ends with the test."""
    with ExitStack() as stack:

        def start(url: str, limits: Limits | None = None) -> Relayed:
            data = tmp_path / f"relay-{len(list(tmp_path.iterdir()))}"
            settings = Settings(data_dir=data, upstream=url, limits=limits or Limits())
            here = stack.enter_context(live_relay(settings, served.token(Scope.VIEW)))
            client = httpx.Client(base_url=here, headers=served.key(Scope.VIEW), timeout=60)
            return Relayed(here, stack.enter_context(client), data)

        yield start


@pytest.fixture
def relay(relay_of: Relays, served: Served) -> Relayed:
    """A relay of the standing API."""
    return relay_of(served.url)


@pytest.fixture
def published(served: Served) -> Manifest:
    """A sequence of three pictures, with the events 1 to 5."""
    return served.publish(served.queued())


def metric(url: str, name: str) -> float:
    """The present value of a metric without labels at a server."""
    lines = httpx.get(f"{url}/metrics").text.splitlines()
    (value,) = (line.split()[1] for line in lines if line.startswith(f"{name} "))
    return float(value)
