"""The server that a relay carries: every answer bounded in size and time, every fault named.

No pause and no second try here: viewers come again by themselves, and must not be multiplied.
"""

import asyncio
import logging
import time
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from typing import Final

import httpx
from pydantic import ValidationError

from microdose.address import bearer
from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import BadUpstream, CorruptStream, MicrodoseError, NotFound, Removed, Unavailable
from microdose.patience import Timeouts
from microdose.problem import Problem, ProblemError, make_problem
from microdose.sse import Message, Parser
from microdose_server.url import server_url

TIMEOUTS: Final = Timeouts(connect=5.0, read=10.0, total=120.0, silence=40.0)
"""Shorter than those of a client, which is to be told before it gives up itself."""
OTHER_CONNECTIONS: Final = 64
"""At a time, on top of those that follow events."""
MAX_REFUSAL_BYTES: Final = 1 << 16
MAX_DETAIL: Final = 300

log = logging.getLogger(__name__)


class Upstream:
    """A Microdose server reached by HTTP, with one key. Its methods raise:

    NotFound, Removed: the upstream says so. Unavailable: it is out of reach, too slow, at its limits, or does
    not take the key. BadUpstream: its answer is not what such a server sends.
    """

    def __init__(self, url: str, key: str, *, streams: int = 256, timeouts: Timeouts = TIMEOUTS) -> None:
        """`streams` is how many event streams may be open.

        Raises Unavailable for what is no URL, ProblemError for what cannot be a key.
        """
        where = server_url(url, "an upstream", "https://origin.example.org")
        self.name = f"{where.scheme}://{where.netloc.decode()}"
        self._timeouts = timeouts
        self._httpx = httpx.AsyncClient(
            base_url=where,
            headers={"Authorization": bearer(key), "Accept-Encoding": "identity"},
            limits=httpx.Limits(max_connections=streams + OTHER_CONNECTIONS, max_keepalive_connections=32),
        )
        self.heard: float | None = None
        """When the last good answer began, by the monotonic clock."""

    async def aclose(self) -> None:
        """Close every connection."""
        await self._httpx.aclose()

    async def document(
        self, path: str, limit: int, *, etag: str | None = None, key: str | None = None
    ) -> bytes | None:
        """The body at `path`, of at most `limit` bytes; None if it still is the one of `etag`.

        With a viewer's `key`, in place of the relay's own, raises ProblemError where that is refused.
        """
        headers = {"If-None-Match": etag} if etag else {}
        if key is not None:
            headers["Authorization"] = bearer(key)
        async with self._get(path, headers, self._timeouts.total) as answer:
            if answer.status_code == 304 and etag:
                return None
            if answer.status_code != 200:
                raise await _refusal(answer, path, whose="this relay" if key is None else None)
            return b"".join([piece async for piece in _pieces(answer, limit)])

    @asynccontextmanager
    async def blob(self, digest: str) -> AsyncIterator[AsyncIterator[bytes]]:
        """The bytes that `digest` names as they come, at most 64 MiB, not verified."""
        path = f"/v1/blobs/{digest}"
        async with self._get(path, {}, self._timeouts.total) as answer:
            if answer.status_code != 200:
                raise await _refusal(answer, path)
            async with aclosing(_pieces(answer, MAX_BLOB_BYTES)) as pieces:
                yield pieces

    @asynccontextmanager
    async def events(self, sequence: str, after: str) -> AsyncIterator[AsyncIterator[Message]]:
        """What is said of a sequence after the event `after`, for as long as the upstream speaks."""
        path = f"/v1/sequences/{sequence}/events"
        headers = {"Accept": "text/event-stream", "Last-Event-ID": after}
        async with self._get(path, headers, None) as answer:
            if answer.status_code != 200:
                raise await _refusal(answer, path)
            async with aclosing(_messages(answer)) as messages:
                yield messages

    @asynccontextmanager
    async def _get(
        self, path: str, headers: Mapping[str, str], total_s: float | None
    ) -> AsyncIterator[httpx.Response]:
        """An answer to a GET, whose end is to come within `total_s`; an endless one may be silent longer."""
        limits = self._timeouts
        pause_s = limits.silence if total_s is None else limits.read
        timeout = httpx.Timeout(pause_s, connect=limits.connect, pool=limits.connect)
        try:
            async with (
                asyncio.timeout(total_s),
                self._httpx.stream("GET", path, headers=headers, timeout=timeout) as answer,
            ):
                if answer.status_code in (200, 304):
                    self.heard = time.monotonic()
                yield answer
        except (httpx.TransportError, TimeoutError) as error:
            reason = str(error) or type(error).__name__
            log.warning("%s: GET %s: %s", self.name, path, reason)
            raise Unavailable(f"the upstream does not answer ({reason}); try again") from error


async def _pieces(answer: httpx.Response, limit: int) -> AsyncGenerator[bytes]:
    """The body as it comes. Raises BadUpstream once it is over `limit`."""
    size = int(answer.headers.get("content-length", 0))
    if size <= limit:
        size = 0
        async for piece in answer.aiter_raw():
            size += len(piece)
            if size > limit:
                break
            yield piece
    if size > limit:
        raise BadUpstream(f"the upstream sends more than {limit} bytes for {answer.request.url.path}")


async def _messages(answer: httpx.Response) -> AsyncGenerator[Message]:
    parser = Parser()
    try:
        async for piece in answer.aiter_raw():
            for message in parser.feed(piece):
                yield message
    except CorruptStream as error:
        raise BadUpstream(f"the upstream's events at {answer.request.url.path}: {error}") from error


async def _refusal(answer: httpx.Response, path: str, whose: str | None = "this relay") -> MicrodoseError:
    """The error for an answer that is no success; `whose` key it was, None for a viewer's."""
    status = answer.status_code
    try:
        body = b"".join([piece async for piece in _pieces(answer, MAX_REFUSAL_BYTES)])
        detail = (Problem.model_validate_json(body).detail or "")[:MAX_DETAIL]
    except (ValidationError, BadUpstream):
        said = None
    else:
        said = detail
    if status == 429 or status >= 500:
        return Unavailable(f"the upstream answers {status}: {said or 'without saying why'}")
    if status in (401, 403) and whose:
        log.error("the upstream refuses the key of %s: %s", whose, said)
        return Unavailable(f"the upstream does not take the key of {whose}: {said}")
    if said is None:
        return BadUpstream(f"the upstream answers {status} to GET {path}; is it a Microdose server?")
    if status in (401, 403):
        return ProblemError(make_problem("unauthorized" if status == 401 else "forbidden", said))
    known = {404: NotFound, 410: Removed}.get(status, BadUpstream)
    return known(said or f"the upstream answers {status}")
