"""A real HTTP server on loopback whose answers a test decides: for faults that a sound server never shows."""

import json
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from types import TracebackType
from typing import Any, Self

from microdose.problem import make_problem


@dataclass(frozen=True)
class Request:
    """What arrived: `path` includes the query; header names are in lower case."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes


@dataclass(frozen=True)
class Reply:
    """What to answer. `length` is the Content-Length to claim; None tells the truth.

    With `silence` nothing follows the headers until it is set, and then the line is cut.
    """

    status: int = 200
    body: bytes = b""
    headers: Mapping[str, str] = field(default_factory=dict)
    length: int | None = None
    silence: threading.Event | None = None


def json_reply(value: Any, status: int = 200) -> Reply:
    """A JSON answer."""
    return Reply(status, json.dumps(value).encode(), {"Content-Type": "application/json"})


def problem_reply(slug: str, detail: str, headers: Mapping[str, str] | None = None) -> Reply:
    """An answer as problem+json."""
    problem = make_problem(slug, detail)
    own = {"Content-Type": "application/problem+json", **(headers or {})}
    return Reply(problem.status, problem.to_bytes(), own)


class Loopback:
    """The server. `answer` runs in one thread per connection; every request is kept in `requests`."""

    def __init__(self, answer: Callable[[Request], Reply]) -> None:
        self.answer = answer
        self.requests: list[Request] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.01,), daemon=True)

    @property
    def url(self) -> str:
        """Where it listens."""
        return f"http://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        loopback = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def handle_any(self) -> None:
                body = self._body()
                headers = {name.lower(): value for name, value in self.headers.items()}
                request = Request(self.command, self.path, headers, body)
                loopback.requests.append(request)
                reply = loopback.answer(request)
                self.send_response(reply.status)
                for name, value in reply.headers.items():
                    self.send_header(name, value)
                length = len(reply.body) if reply.length is None else reply.length
                self.send_header("Content-Length", str(length))
                self.end_headers()
                if reply.silence is not None:
                    reply.silence.wait()
                    self.close_connection = True
                    return
                self.wfile.write(reply.body)
                self.close_connection = length != len(reply.body)

            do_GET = do_PUT = do_POST = do_DELETE = handle_any  # noqa: N815

            def _body(self) -> bytes:
                if self.headers.get("Transfer-Encoding", "").lower() != "chunked":
                    return self.rfile.read(int(self.headers.get("Content-Length", 0)))
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                return body

            def log_message(self, format: str, *args: object) -> None:
                """Keep the test's output clean."""

        return Handler
