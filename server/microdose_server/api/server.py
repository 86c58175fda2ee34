"""An application as a process: uvicorn, with a shutdown that open event streams cannot hold up.

SIGTERM -> readyz 503, streams and long polls end (`bye`) -> connections close -> lifespan ends
"""

import socket
import tempfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import redis
import uvicorn
from fastapi import FastAPI

from microdose.errors import Unavailable
from microdose_server.api.app import create_app
from microdose_server.api.connection import bounded
from microdose_server.descriptors import raise_limit
from microdose_server.settings import Limits, Settings
from microdose_server.stopping import exit_when_told
from microdose_server.store.blobs import public_blobs
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import connect, ping
from microdose_server.store.viewers import Viewers

BACKLOG = 2048
GRACE_S = 2
"""Then requests that are still running are cut."""


class Server(uvicorn.Server):
    """uvicorn waits for open responses and tells the application afterwards; event streams need it first."""

    def __init__(self, app: FastAPI, limits: Limits, ready: Callable[[str], None]) -> None:
        """`ready` is called once with the URL, when requests are answered there.

        `app.state.drain` must end the event streams and long polls of the application.
        """
        self._app, self._ready = app, ready
        super().__init__(bounded(app, limits))
        self.config.timeout_graceful_shutdown = GRACE_S

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Begin to listen, then say where."""
        await super().startup(sockets)
        if self.started and sockets:
            host, port = sockets[0].getsockname()[:2]
            self._ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """End what would never end by itself, then everything else."""
        self._app.state.drain()
        await super().shutdown(sockets)


def serve(settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve the API until SIGTERM or SIGINT, which then end the program. Needs the main thread.

    Raises:
        Unavailable: no Redis, a data folder that cannot be used, or an address that cannot be listened on.
    """
    exit_when_told()  # uvicorn catches the signals, and raises them again when it is done
    with connect(redis_url(settings)) as client:
        ping(client)
        with suppress(Unavailable, redis.ResponseError):  # viewers of the bus are not viewers of the API
            Viewers(client).restore()
    public_blobs(settings.data_dir)
    settings = settings.model_copy(update={"redis_url": redis_url(settings)})  # which /tmp may be a part of
    _spool_to(settings.data_dir / "spool")
    run(create_app(settings), settings, ready)


def run(app: FastAPI, settings: Settings, ready: Callable[[str], None]) -> None:
    """Serve `app` at the settings' address, as `serve`. Raises Unavailable: it cannot be listened on."""
    raise_limit()
    with listen(settings.host, settings.port) as listener:
        Server(app, settings.limits, ready).run([listener])


def _spool_to(folder: Path) -> None:
    """Have the files of multipart forms wait on the disk where they will stay: /tmp may be memory."""
    folder.mkdir(exist_ok=True)
    tempfile.tempdir = str(folder.absolute())


def listen(host: str, port: int) -> socket.socket:
    """A socket that waits for viewers, and sends what is written at once.

    asyncio sees to the latter only for sockets that name their protocol, which these do not: the end of an
    answer would wait for the other side to confirm its beginning, up to 40 ms later.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        listener = socket.create_server((host, port), family=family, backlog=BACKLOG)
    except OSError as error:
        raise Unavailable(f"cannot listen on {host} port {port}: {error.strerror}; choose another") from error
    listener.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)  # whatever it accepts inherits it
    return listener
