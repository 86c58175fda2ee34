"""Bodies of requests: bounded in size and time while they arrive, and kept off the heap."""

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import IO, BinaryIO, Final, cast

from fastapi import Request
from starlette.datastructures import Headers, UploadFile
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microdose.problem import make_problem
from microdose_server.api.problem import respond
from microdose_server.settings import Limits

FORM_OVERHEAD_BYTES: Final = 4 << 20
"""Part headers and small fields of a multipart form, on top of its files."""
SPOOL_BYTES: Final = 1 << 20


def limit_of(path: str, limits: Limits) -> int:
    """The most bytes a body sent to `path` may have."""
    if path.endswith(":upload"):
        return limits.max_upload_bytes + FORM_OVERHEAD_BYTES
    return limits.max_picture_bytes if "/frames/" in path else limits.max_json_bytes


class BodyLimit:
    """ASGI middleware: a body over the limit of its path is answered 413, also one that tells no length.

    One that comes too slowly is answered 408: after a pause of `silence_s`, or when it has taken longer than
    that and `min_body_rate` allow. Only the time spent waiting for it counts.
    """

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = limit_of(scope["path"], self.limits)
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed) > limit:
            return await respond(make_problem("too-large", _over(limit)), scope)(scope, receive, send)
        await self.app(scope, _Counted(receive, limit, self.limits), send)


class _Counted:
    """`receive` that raises an HTTPException, which body parsers let pass, at a byte too many or too late."""

    def __init__(self, receive: Receive, limit: int, limits: Limits) -> None:
        self._receive, self._limit, self._limits = receive, limit, limits
        self._received, self._waited, self._more = 0, 0.0, True

    async def __call__(self) -> Message:
        if not self._more:  # what comes now is the end of the connection, whenever that is
            return await self._receive()
        allowed = self._limits.silence_s + self._received / self._limits.min_body_rate - self._waited
        start = time.monotonic()
        try:
            async with asyncio.timeout(min(allowed, self._limits.silence_s)):
                message = await self._receive()
        except TimeoutError:
            raise HTTPException(408, "the body came too slowly", {"Connection": "close"}) from None
        self._waited += time.monotonic() - start
        self._received += len(message.get("body", b""))
        self._more = message.get("more_body", False)
        if self._received > self._limit:
            raise HTTPException(413, _over(self._limit))
        return message


def _over(limit: int) -> str:
    return f"the body is over the {limit} bytes allowed here"


@asynccontextmanager
async def spooled(request: Request) -> AsyncIterator[IO[bytes]]:
    """The raw body as a file that lasts as long as the context, on disk beyond 1 MiB."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as raw:
        file = UploadFile(cast(BinaryIO, raw), size=0)  # its writes go to a thread once on disk
        async for chunk in request.stream():
            await file.write(chunk)
        await file.seek(0)
        yield raw
