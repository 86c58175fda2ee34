"""Bodies of requests: bounded in size and time while they arrive, and kept off the heap."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Final

from anyio import to_thread
from fastapi import Request
from starlette.datastructures import Headers
from starlette.exceptions import HTTPException
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from microdose.digest import MAX_BLOB_BYTES, repr_digest
from microdose.errors import DigestMismatch
from microdose.problem import make_problem
from microdose_server.api.problem import respond
from microdose_server.settings import Limits
from microdose_server.store.blobs import BlobStore
from microdose_server.store.incoming import Incoming

WRITE_BYTES: Final = 1 << 19
"""How much of a body is in memory before it is written."""


def limit_of(path: str, limits: Limits) -> int:
    """The most bytes a body sent to `path` may have."""
    if path.endswith(":upload"):
        return limits.max_upload_bytes + limits.max_form_overhead
    if path.startswith(("/v1/blobs/", "/v1/originals/", "/v1/checkpoints/")):
        return MAX_BLOB_BYTES
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


def length_of(request: Request, otherwise: int) -> int:
    """The length that a body claims; `otherwise`, if it tells none."""
    claimed = request.headers.get("content-length", "")
    return int(claimed) if claimed.isdigit() else otherwise


@asynccontextmanager
async def received(request: Request, store: BlobStore, digest: str | None = None) -> AsyncIterator[Incoming]:
    """The raw body as a blob to be, on disk and never whole in memory; forgotten unless it is kept.

    Raises DigestMismatch unless it has the `digest`, or the one that its Repr-Digest gives, if it gives one.
    """
    with await to_thread.run_sync(store.incoming) as incoming:
        pieces = bytearray()
        async for piece in request.stream():
            pieces += piece
            if len(pieces) > WRITE_BYTES:
                await to_thread.run_sync(incoming.write, pieces)
                pieces = bytearray()
        await to_thread.run_sync(incoming.write, pieces)
        promised = request.headers.get("repr-digest", "")
        wrong = digest is not None and digest != incoming.digest
        if wrong or ("sha-256=" in promised and repr_digest(incoming.digest) not in promised):
            raise DigestMismatch(
                f"{incoming.size} bytes arrived with the digest {incoming.digest}; send again"
            )
        yield incoming
