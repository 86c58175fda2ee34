"""The one door to HTTP: requests with explicit limits of time and size, repeated with back-off, errors named.

The only module that imports httpx.

    Http.call ─ try ─ answer < 500, not 429 ─────────────────────────────► Answer
                 └── 429, 5xx, no answer ─ pause ─ try again … ─ give up ─► ProblemError | Unavailable
"""

import re
import time
from collections.abc import Mapping
from itertools import count
from typing import Any, NamedTuple, TypeVar

import httpx
from pydantic import TypeAdapter, ValidationError

from microdose.errors import CorruptStream, MicrodoseError, NotFound, Removed, Unavailable
from microdose.problem import Problem, ProblemError, make_problem
from microdose_client.patience import RETRY, TIMEOUTS, Retry, Timeouts, retry_after

Transport = httpx.BaseTransport
MAX_DOCUMENT_BYTES = 32 * 1024 * 1024
T = TypeVar("T")


class Answer(NamedTuple):
    """A complete HTTP answer; the names of its headers match in any case."""

    status: int
    headers: Mapping[str, str]
    body: bytes


class _Failure(NamedTuple):
    """A try in vain: why, whether another may do better, and the pause that the server asked for."""

    error: MicrodoseError
    passing: bool
    asked_s: float | None = None


class Http:
    """A server reached by HTTP. Safe to share between threads."""

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
            headers["Authorization"] = f"Bearer {_checked_key(key)}"
        self._httpx = httpx.Client(
            base_url=url, headers=headers, transport=transport, timeout=self._httpx_timeout(0)
        )

    def close(self) -> None:
        """Close every connection."""
        self._httpx.close()

    def call(
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
            outcome = self._try(method, path, repeatable, wait, limit, request)
            if isinstance(outcome, Answer):
                return outcome
            if not outcome.passing or attempt >= self._retry.attempts:
                raise outcome.error
            self._retry.pause(attempt, outcome.asked_s)
        raise AssertionError("count() has no end")

    def _try(
        self, method: str, path: str, repeatable: bool, wait: float, limit: int, request: dict[str, Any]
    ) -> "Answer | _Failure":
        """One try: a good answer, or what went wrong and whether that may pass."""
        try:
            answer = self._once(method, path, wait, limit, request)
        except httpx.TransportError as error:
            failure = Unavailable(f"cannot reach {self.name}: {_reason(error)}; is the server running?")
            failure.__cause__ = error
            return _Failure(
                failure, repeatable or isinstance(error, httpx.ConnectError | httpx.ConnectTimeout)
            )
        if answer.status < 300 or answer.status == 304:
            return answer
        passing = answer.status in (429, 503) or (repeatable and answer.status >= 500)
        asked_s = retry_after(answer.headers.get("retry-after"))
        return _Failure(self._refusal(answer, method, path), passing, asked_s)

    def _once(self, method: str, path: str, wait: float, limit: int, request: dict[str, Any]) -> Answer:
        deadline = time.monotonic() + self._timeouts.total + wait
        with self._httpx.stream(method, path, timeout=self._httpx_timeout(wait), **request) as response:
            limit = limit if response.is_success else MAX_DOCUMENT_BYTES
            body = bytearray()
            for piece in response.iter_raw():
                body += piece
                if len(body) > limit:
                    raise CorruptStream(
                        f"{self.name} sends more than {limit} bytes for {path}; nothing is kept"
                    )
                if time.monotonic() > deadline:
                    raise httpx.ReadTimeout(f"{path} was not complete after {self._timeouts.total:g} s")
            return Answer(response.status_code, response.headers, bytes(body))

    def _httpx_timeout(self, wait: float) -> httpx.Timeout:
        read, connect = self._timeouts.read, self._timeouts.connect
        return httpx.Timeout(read, connect=connect, read=read + wait)

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
        return Unavailable(
            f"{self.name} answered {answer.status} to {method} {path} without saying why; "
            "is it a Microdose server, and is its proxy in order?"
        )


def parse(answer: Answer, model: type[T]) -> T:
    """The answer's JSON body as `model`. Raises CorruptStream if it is not one."""
    try:
        return TypeAdapter(model).validate_json(answer.body)
    except ValidationError as error:
        what = getattr(model, "__name__", str(model))
        raise CorruptStream(f"the server's answer is not a {what}: {error.errors()[0]['msg']}") from None


def _parse(server: str) -> httpx.URL:
    try:
        url = httpx.URL(server)
        url.host.encode("idna")  # a name that cannot be one would only show when it is looked up
    except (httpx.InvalidURL, UnicodeError):
        url = httpx.URL("")
    if url.scheme not in ("http", "https") or not url.host:
        raise Unavailable(f"{server!r} is not a server; give a URL like http://127.0.0.1:8710")
    return url


def _checked_key(key: str) -> str:
    if not re.fullmatch(r"[!-~]+", key):
        detail = "the API key has characters that no key has; it reads md_<id>_<secret>"
        raise ProblemError(make_problem("unauthorized", detail))
    return key


def _reason(error: httpx.TransportError) -> str:
    """What went wrong, in words even where httpx gives none."""
    return str(error) or type(error).__name__
