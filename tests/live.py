"""The real API on a real port, in a thread of the test's process."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import uvicorn
from fastapi import FastAPI

from microdose_server.api.app import LoadBases, create_app
from microdose_server.api.connection import bounded
from microdose_server.settings import Settings

START_S = 60.0


class Draining(uvicorn.Server):
    """Ends event streams when it stops, as `microdose-server serve` does."""

    def __init__(self, config: uvicorn.Config, app: FastAPI) -> None:
        super().__init__(config)
        self._app = app

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Say goodbye first."""
        self._app.state.services.pump.drain()
        await super().shutdown(sockets)


@contextmanager
def live_api(settings: Settings, load_bases: LoadBases = lambda blobs: (), port: int = 0) -> Iterator[str]:
    """Serve the API of `settings`, which names a Redis, by default without bases; yields its URL."""
    app = create_app(settings, load_bases)
    config = bounded(app, settings.limits)
    config.port = port
    config.timeout_graceful_shutdown = 2
    server = Draining(config, app)
    thread = threading.Thread(target=server.run, daemon=True)
    thread.start()
    try:
        deadline = time.monotonic() + START_S
        while not server.started:
            if not thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the API did not start")
            time.sleep(0.01)
        yield "http://{}:{}".format(*server.servers[0].sockets[0].getsockname()[:2])
    finally:
        server.should_exit = True
        thread.join()
