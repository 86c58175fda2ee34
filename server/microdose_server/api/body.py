"""Bodies of requests: bounded in size while they arrive, and kept off the heap."""

import tempfile
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

MAX_JSON_BYTES: Final = 64 << 10
FORM_OVERHEAD_BYTES: Final = 4 << 20
"""Part headers and small fields of a multipart form, on top of its files."""
SPOOL_BYTES: Final = 1 << 20


def limit_of(path: str, limits: Limits) -> int:
    """The most bytes a body sent to `path` may have."""
    if path.endswith(":upload"):
        return limits.max_upload_bytes + FORM_OVERHEAD_BYTES
    return limits.max_picture_bytes if "/frames/" in path else MAX_JSON_BYTES


class BodyLimit:
    """ASGI middleware: a body over the limit of its path is answered 413, also one that tells no length."""

    def __init__(self, app: ASGIApp, limits: Limits) -> None:
        self.app = app
        self.limits = limits

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return await self.app(scope, receive, send)
        limit = limit_of(scope["path"], self.limits)
        detail = f"the body is over the {limit} bytes allowed here"
        claimed = Headers(scope=scope).get("content-length", "")
        if claimed.isdigit() and int(claimed) > limit:
            return await respond(make_problem("too-large", detail), scope)(scope, receive, send)
        received = 0

        async def counted() -> Message:
            nonlocal received
            message = await receive()
            received += len(message.get("body", b""))
            if received > limit:
                raise HTTPException(413, detail)  # the one kind that body parsers let pass
            return message

        await self.app(scope, counted, send)


@asynccontextmanager
async def spooled(request: Request) -> AsyncIterator[IO[bytes]]:
    """The raw body as a file that lasts as long as the context, on disk beyond 1 MiB."""
    with tempfile.SpooledTemporaryFile(max_size=SPOOL_BYTES) as raw:
        file = UploadFile(cast(BinaryIO, raw), size=0)  # its writes go to a thread once on disk
        async for chunk in request.stream():
            await file.write(chunk)
        await file.seek(0)
        yield raw
