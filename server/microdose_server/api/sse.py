"""Server-sent events (WHATWG HTML 9.2): entries of a stream as they come, pings in silence, `bye` at the end.

A client that reconnects says where it was with Last-Event-ID; ids are those of the Redis stream.
"""

import logging
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing
from typing import Annotated, Any, Final

import redis
from fastapi import Header, Query
from fastapi.sse import KEEPALIVE_COMMENT, format_sse_event
from starlette.responses import StreamingResponse

from microdose.problem import ProblemError, make_problem
from microdose_server.api.pump import START, Entry, Pump, parse_id

PING_S = 15.0
RETRY_MS = 2000
log = logging.getLogger(__name__)


DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {200: {"content": {"text/event-stream": {}}}}
"""For the OpenAPI description of a route that answers with `respond`."""


def respond(content: AsyncIterator[bytes]) -> StreamingResponse:
    """`text/event-stream` that no proxy buffers or stores."""
    headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
    return StreamingResponse(content, headers=headers, media_type="text/event-stream")


async def resume_id(
    last_event_id: Annotated[str | None, Header(description="id of the last event that was seen")] = None,
    after: Annotated[str | None, Query(description="the same, for who cannot set headers")] = None,
) -> str:
    """Where a listener wants to go on; from the beginning without a word."""
    wanted = last_event_id or after or START
    try:
        parse_id(wanted)
    except ValueError:
        detail = f"{wanted[:50]!r} is not the id of an event"
        raise ProblemError(make_problem("invalid-request", detail)) from None
    return wanted


async def stream(pump: Pump, key: str, after: str) -> AsyncGenerator[Entry | None]:
    """The entries of `key`; None in silence. Ends when Redis is lost: the client will come back.

    Raises StreamLost.
    """
    async with aclosing(pump.follow(key, after, quiet_s=PING_S)) as entries:
        try:
            async for entry in entries:
                yield entry
        except redis.RedisError as error:
            log.warning("event stream cut: %s", error)


def opening() -> bytes:
    """Sent at once, so that the client knows the stream stands, and how long to wait before it comes back."""
    return format_sse_event(comment="microdose", retry=RETRY_MS)


def message(name: str, data: bytes | str, event_id: str | None = None) -> bytes:
    """One event on the wire."""
    text = data if isinstance(data, str) else data.decode()
    return format_sse_event(event=name, data_str=text, id=event_id)


def ping() -> bytes:
    """Keeps proxies from closing a silent stream."""
    return KEEPALIVE_COMMENT


def bye() -> bytes:
    """The server goes; the client may come back (to another)."""
    return message("bye", "{}")
