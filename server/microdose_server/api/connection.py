"""One connection, bounded in time: uvicorn alone waits for ever, for the head of a request and for a reader.

made --head_s--> head --body: see `BodyLimit`--> request --stall_s for each pause--> answer is read
"""

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import h11
from uvicorn import Config
from uvicorn.protocols.http.h11_impl import H11Protocol

from microdose.problem import make_problem
from microdose_server.api.problem import PROBLEM_TYPE
from microdose_server.settings import Limits


class Deadline:
    """Calls `end` after some seconds, unless stopped before."""

    def __init__(self, seconds: float, end: Callable[[], None]) -> None:
        self._seconds, self._end = seconds, end
        self._timer: asyncio.TimerHandle | None = None

    def start(self) -> None:
        """Begin to count, if it does not yet."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._seconds, self._end)

    def stop(self) -> None:
        """Count no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Connection(H11Protocol):
    """Breaks itself off when the other side takes too long, or when there are too many of them."""

    def __init__(self, limits: Limits, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._most = limits.max_connections
        self._head = Deadline(limits.head_s, self._abort)
        self._stall = Deadline(limits.stall_s, self._abort)

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        if len(self.connections) > self._most:
            self._abort()
        else:
            self._head.start()

    def connection_lost(self, exc: Exception | None) -> None:
        self._head.stop()
        self._stall.stop()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if self.cycle is None or self.cycle.response_complete:
            self._head.start()  # for the next request, or the rest of a body that nobody reads any more
        else:
            self._head.stop()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._stall.start()

    def resume_writing(self) -> None:
        self._stall.stop()
        super().resume_writing()

    def _abort(self) -> None:
        self.transport.abort()

    def send_400_response(self, msg: str) -> None:
        """What is no HTTP is told so as every other error is, if nothing was answered yet; a request whose
        body turns out not to be has lost its client.
        """
        pending = self.cycle is not None and not self.cycle.response_complete
        if pending:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
            self._refuse(msg, with_body=not (pending and self.cycle.scope["method"] == "HEAD"))
        self.transport.close()

    def _refuse(self, msg: str, *, with_body: bool) -> None:
        problem = make_problem("invalid-request", msg).model_copy(update={"status": 400})
        body = problem.to_bytes()
        headers = [
            ("Content-Type", PROBLEM_TYPE),
            ("Content-Length", str(len(body))),
            ("Connection", "close"),
        ]
        head = h11.Response(status_code=400, headers=headers, reason=b"Bad Request")
        for event in (head, h11.Data(data=body if with_body else b""), h11.EndOfMessage()):
            self.transport.write(self.conn.send(event) or b"")


def bounded(app: Any, limits: Limits) -> Config:
    """uvicorn's configuration for an application under these limits. It logs and names nothing by itself."""
    protocol = cast(type[asyncio.Protocol], partial(Connection, limits))
    return Config(
        app,
        http=protocol,
        ws="none",
        log_config=None,
        access_log=False,
        server_header=False,
        h11_max_incomplete_event_size=limits.max_head_bytes,
    )
