"""Around every request: an id, one log line, one count, headers that keep browsers careful, and the last net.

An error that nobody foresaw says nothing about its inside; its request_id leads to the log, where all stands.
"""

import logging
import re
import time

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microdose.ids import new_id
from microdose.problem import make_problem
from microdose_server.api.metrics import RequestMetrics
from microdose_server.api.problem import respond
from microdose_server.logs import about

REQUEST_ID = "X-Request-Id"
_SANE = re.compile(r"[A-Za-z0-9._-]{1,64}")
_SAFETY = {
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "X-Frame-Options": "DENY",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cache-Control": "no-store",
}
_NAMED = ("sequence", "job")
log = logging.getLogger("microdose_server.access")


class Envelope:
    """ASGI middleware. Accepts the caller's X-Request-Id where it is sane, and returns the one in use."""

    def __init__(self, app: ASGIApp, metrics: RequestMetrics) -> None:
        self.app = app
        self.metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        asked = Headers(scope=scope).get(REQUEST_ID, "")
        request_id = asked if _SANE.fullmatch(asked) else new_id()
        scope.setdefault("state", {})["request_id"] = request_id
        start, status = time.perf_counter(), 0

        async def wrapped(message: Message) -> None:
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                headers = MutableHeaders(scope=message)
                headers[REQUEST_ID] = request_id
                for name, value in _SAFETY.items():
                    headers.setdefault(name, value)
            await send(message)

        with about(request=request_id):
            try:
                await self.app(scope, receive, wrapped)
            except Exception:
                log.exception("unforeseen error")
                if status:
                    raise  # an answer has begun: all that is left is to break it off
                detail = "the request_id leads to the server's log"
                await respond(make_problem("internal", detail), scope)(scope, receive, wrapped)
            finally:
                seconds = time.perf_counter() - start
                self.metrics.count(scope, status, seconds)
                _log_answer(scope, status, seconds)


def _log_answer(scope: Scope, status: int, seconds: float) -> None:
    """One line per request; its id is in every line anyway."""
    method, path, ms = scope["method"], scope["path"], round(seconds * 1000, 1)
    named = {name: value for name, value in scope.get("path_params", {}).items() if name in _NAMED}
    facts = {"method": method, "path": path, "status": status, "ms": ms, **named}
    log.info("%s %r %d %.1f ms", method, path, status, ms, extra={"facts": facts})
