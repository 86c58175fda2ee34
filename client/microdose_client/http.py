"""The one door to HTTP: requests with explicit limits of time and size, repeated with back-off, errors named.

The only module that imports httpx.

    Http.call ─ try ─ answer < 500, not 429 ─────────────────────────────► Answer
                 └── 429, 5xx, no answer ─ pause ─ try again … ─ give up ─► ProblemError | Unavailable
    Http.listen ─ one try ─► the pieces of an answer without end
"""

import asyncio
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from itertools import count
from typing import Any, NamedTuple, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from microdose.address import bearer, is_server
from microdose.errors import CorruptStream, MicrodoseError, NotFound, Removed, Unavailable
from microdose.patience import RETRY, TIMEOUTS, Retry, Timeouts, retry_after
from microdose.problem import Problem, ProblemError
from microdose_client.threads import in_thread

Transport = httpx.BaseTransport | httpx.AsyncBaseTransport
FULL = 507
"""Insufficient Storage: a full disk or a used-up quota does not pass in seconds."""
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
T = TypeVar("T")


class Answer(NamedTuple):
    """A complete HTTP answer; the names of its headers match in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class Refused(Unavailable):
    """An answer with an error's `status` that does not say why: not from a server of ours."""

    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status


class _Failure(NamedTuple):
    """A try in vain: why, whether another may do better, and the pause that the server asked for."""

    error: MicrodoseError
    passing: bool
    asked_s: float | None = None


class Http:
    """A server reached by HTTP."""

    def __init__(
        self,
        server: str,
        *,
        key: str | None = None,
        timeouts: Timeouts = TIMEOUTS,
        retry: Retry = RETRY,
        transport: Transport | None = None,
    ) -> None:
        """Raises Unavailable if `server` is no http or https URL, ProblemError for what cannot be a key."""
        url = _parse(server)
        self.name = f"{url.scheme}://{url.netloc.decode()}"
        self._timeouts, self._retry = timeouts, retry
        headers = {"Accept-Encoding": "identity"}  # a compressed answer could unpack to any size
        if key:
            headers["Authorization"] = bearer(key)
        self._httpx = httpx.AsyncClient(
            base_url=url,
            headers=headers,
            transport=_InThreads(transport) if isinstance(transport, httpx.BaseTransport) else transport,
            limits=httpx.Limits(max_connections=None, max_keepalive_connections=20),
        )

    async def close(self) -> None:
        """Close every connection."""
        await self._httpx.aclose()

    async def call(
        self,
        method: str,
        path: str,
        *,
        repeatable: bool = True,
        wait: float = 0,
        limit: int = MAX_DOCUMENT_BYTES,
        **request: Any,
    ) -> Answer:
        """Send one request and return its 2xx or 304 answer.

        A repeatable (idempotent) request is tried again after any failure that may pass; any other only if
        the server cannot have acted on it: no connection, 429, 503. `wait` is how many seconds the server was
        asked to hold the answer back; `limit` caps the answer's body in bytes; `request` goes to httpx
        (params, json, content, files, …).

        Raises ProblemError or NotFound for what the server refuses, Unavailable, CorruptStream for a body
        over `limit`.
        """
        for attempt in count(1):
            outcome = await self._try(method, path, repeatable, wait, limit, request)
            if isinstance(outcome, Answer):
                return outcome
            if not outcome.passing or attempt >= self._retry.attempts:
                raise outcome.error
            await self._retry.pause(attempt, outcome.asked_s)
        raise AssertionError("count() has no end")

    @asynccontextmanager
    async def listen(self, path: str, headers: dict[str, str]) -> AsyncIterator[AsyncIterator[bytes]]:
        """The body of a GET in pieces as they come, for as long as they do.

        Raises, also while they come: ProblemError or NotFound for a refusal; Unavailable where the line is
        cut or silent for longer than `Timeouts.silence`.
        """
        timeout = httpx.Timeout(self._timeouts.silence, connect=self._timeouts.connect)
        try:
            async with self._httpx.stream("GET", path, headers=headers, timeout=timeout) as response:
                if response.status_code != httpx.codes.OK:
                    async with asyncio.timeout(self._timeouts.total):
                        raise self._refusal(await _read(response, MAX_DOCUMENT_BYTES), "GET", path)
                yield response.aiter_raw()
        except (httpx.RequestError, TimeoutError) as error:
            raise self._unreachable(error) from error

    async def _try(
        self, method: str, path: str, repeatable: bool, wait: float, limit: int, request: dict[str, Any]
    ) -> "Answer | _Failure":
        """One try: a good answer, or what went wrong and whether that may pass."""
        try:
            answer = await self._once(method, path, wait, limit, request)
        except httpx.RequestError as error:
            failure = self._unreachable(error)
            failure.__cause__ = error
            unheard = isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            # what is no error of the transport, such as redirects in a circle, stays as it is
            return _Failure(failure, unheard or (repeatable and isinstance(error, httpx.TransportError)))
        if answer.status < 300 or answer.status == 304:
            return answer
        passing = answer.status in (429, 503) or (
            repeatable and answer.status >= 500 and answer.status != FULL
        )
        asked_s = retry_after(answer.headers.get("retry-after"))
        return _Failure(self._refusal(answer, method, path), passing, asked_s)

    async def _once(self, method: str, path: str, wait: float, limit: int, request: dict[str, Any]) -> Answer:
        timeouts = self._timeouts
        timeout = httpx.Timeout(timeouts.read, connect=timeouts.connect, read=timeouts.read + wait)
        try:
            async with (
                asyncio.timeout(timeouts.total + wait),
                self._httpx.stream(method, path, timeout=timeout, **request) as response,
            ):
                return await _read(response, limit if response.is_success else MAX_DOCUMENT_BYTES)
        except TimeoutError:
            raise httpx.ReadTimeout(f"{path} was not complete after {timeouts.total:g} s") from None

    def _unreachable(self, error: httpx.RequestError | TimeoutError) -> Unavailable:
        reason = str(error) or type(error).__name__
        return Unavailable(f"cannot reach {self.name}: {reason}; is the server running?")

    def _refusal(self, answer: Answer, method: str, path: str) -> MicrodoseError:
        """The error for an answer that is not a success: the server's own words, if it is our server."""
        if answer.headers.get("content-type", "").startswith("application/problem+json"):
            try:
                problem = Problem.model_validate_json(answer.body)
            except ValidationError:
                pass
            else:
                refusal = ProblemError(problem)
                absent = {404: NotFound, 410: Removed}.get(problem.status)
                return absent(str(refusal)) if absent else refusal
        return Refused(
            answer.status,
            f"{self.name} answered {answer.status} to {method} {path} without saying why; "
            "is it a Microdose server, and is its proxy in order?",
        )


class _InThreads(httpx.AsyncBaseTransport):
    """A blocking transport, such as `httpx.WSGITransport`, at work in threads."""

    def __init__(self, transport: httpx.BaseTransport) -> None:
        self._transport = transport

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Read the whole body here, where it may wait; hand the answer's pieces on as they come."""
        await request.aread()
        request.stream = httpx.ByteStream(request.content)
        response = await in_thread(self._transport.handle_request, request)
        response.stream = _Pieces(response)
        return response

    async def aclose(self) -> None:
        """Close the transport."""
        await in_thread(self._transport.close)


class _Pieces(httpx.AsyncByteStream):
    """A blocking response's body."""

    def __init__(self, response: httpx.Response) -> None:
        stream = response.stream
        assert isinstance(stream, httpx.SyncByteStream)
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        pieces = iter(self._stream)
        while (piece := await in_thread(next, pieces, None)) is not None:
            yield piece

    async def aclose(self) -> None:
        await in_thread(self._stream.close)


async def _read(response: httpx.Response, limit: int) -> Answer:
    """The whole answer. Raises CorruptStream as soon as its body is over `limit`."""
    body = bytearray()
    async for piece in response.aiter_raw():
        body += piece
        if len(body) > limit:
            url = response.request.url
            raise CorruptStream(f"{url.host} sends more than {limit} bytes for {url.path}; nothing is kept")
    return Answer(response.status_code, response.headers, bytes(body))


def parse(answer: Answer, model: type[T]) -> T:
    """The answer's JSON body as `model`. Raises CorruptStream if it is not one."""
    try:
        return TypeAdapter(model).validate_json(answer.body)
    except ValidationError as error:
        what = getattr(model, "__name__", str(model))
        raise CorruptStream(f"the server's answer is not a {what}: {error.errors()[0]['msg']}") from None


def _parse(server: str) -> httpx.URL:
    with suppress(httpx.InvalidURL, UnicodeError):  # the latter of a host that begins like an encoded one
        url = httpx.URL(server)
        if is_server(url.scheme, url.host):
            return url
    raise Unavailable(f"{server!r} is not a server; give a URL like http://127.0.0.1:8710")
