"""The real API, and real relays, on a real port, in a thread of the test's process."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from microdose_server.api.app import LoadBases, create_app
from microdose_server.api.connection import bounded
from microdose_server.evaluate.loopback import running
from microdose_server.relay.app import create_relay
from microdose_server.settings import Settings


class Draining(uvicorn.Server):
    """Ends event streams when it stops, as a `microdose-server` does."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say goodbye first."""
        self._app.state.drain()
        await super().shutdown(sockets)


@contextmanager
def live_api(settings: Settings, load_bases: LoadBases = lambda blobs: (), port: int = 0) -> Iterator[str]:
    """Serve the API of `settings`, which names a Redis, by default without bases; yields its URL."""
    with live_app(create_app(settings, load_bases), settings, port) as url:
        yield url


@contextmanager
def live_relay(settings: Settings, key: str, port: int = 0) -> Iterator[str]:
    """Serve a relay of the upstream of `settings`, which it reads with `key`; yields its URL."""
    with live_app(create_relay(settings, key), settings, port) as url:
        yield url


@contextmanager
def live_app(app: FastAPI, settings: Settings, port: int = 0) -> Iterator[str]:
    """Serve an application; yields its URL."""
    config = bounded(app, settings.limits)
    config.host, config.port = settings.host, port
    config.timeout_graceful_shutdown = 2
    with running(Draining(config, app)) as url:
        yield url
