"""Where a job gets originals and puts blobs: the disk of the API, or, on another machine, the API itself.

worker --GET /v1/originals/{digest}-------> API        with a key of the scope worker
       --PUT /v1/blobs/{digest}----------->            nothing is shared but Redis
       --DELETE /v1/checkpoints/{digest}-->
"""

import os
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final, Protocol

import httpx
from pydantic import ValidationError

from microdose.address import bearer
from microdose.digest import digest_of, verify
from microdose.errors import MicrodoseError, NoSpace, NotFound, Unavailable
from microdose.problem import Problem, ProblemError
from microdose_server.room import room
from microdose_server.settings import Settings
from microdose_server.store import blobs
from microdose_server.store.blobs import BlobStore
from microdose_server.url import server_url

KEY: Final = "MICRODOSE_KEY"
"""The variable with the API key. No setting: those are logged, and passed on."""
TIMEOUT_S: Final = 60.0
PATIENCE_S: Final = 60.0
"""How long an API that is away is waited for; it may just be starting anew."""
PAUSE_S: Final = 1.0
FULL: Final = 507
BUSY: Final = (408, 429)
"""Answers below 500 to what would do at another time."""


class Shelf(Protocol):
    """Immutable bytes by digest."""

    def get(self, digest: str) -> bytes:
        """The bytes named `digest`, verified. Raises NotFound, DigestMismatch, Unavailable."""

    def put(self, data: bytes) -> str:
        """Keep bytes and return their digest.

        Raises BadUpload, NoSpace, OSError, ProblemError, Unavailable.
        """

    def discard(self, digest: str) -> object:
        """Remove a checkpoint, if it is there. Raises ProblemError, Unavailable."""


class LocalShelf:
    """The same on this machine's disk, some of which stays free."""

    def __init__(self, store: BlobStore, reserve: int) -> None:
        """`reserve` bytes of its disk are not for what is put here."""
        self._store, self._reserve = store, reserve

    def get(self, digest: str) -> bytes:
        """As `Shelf`."""
        return self._store.get(digest)

    def put(self, data: bytes) -> str:
        """As `Shelf`."""
        with room(self._store.root, len(data), self._reserve):
            return self._store.put(data)

    def discard(self, digest: str) -> bool:
        """As `Shelf`; whether it was there."""
        return self._store.discard(digest)


class RemoteShelf:
    """The blobs, the originals or the checkpoints of an API, reached by HTTP."""

    def __init__(self, url: str, kind: str, key: str, *, sleep: Callable[[float], None] = time.sleep) -> None:
        """`url` is the API's, `kind` is one of them. Raises Unavailable for what is no URL, ProblemError for
        what cannot be a key.
        """
        where = server_url(url, "an API", "http://api:8710")
        self._http = httpx.Client(base_url=where, headers={"Authorization": bearer(key)}, timeout=TIMEOUT_S)
        self._path = f"/v1/{kind}"
        self._sleep = sleep

    def get(self, digest: str) -> bytes:
        """As `Shelf`."""
        data = self._call("GET", digest).content
        verify(data, digest)
        return data

    def put(self, data: bytes) -> str:
        """As `Shelf`."""
        digest = digest_of(data)
        self._call("PUT", digest, data)
        return digest

    def discard(self, digest: str) -> None:
        """As `Shelf`; an API that is away is not waited for."""
        self._call("DELETE", digest, patience_s=0)

    def close(self) -> None:
        """Close every connection."""
        self._http.close()

    def check(self) -> None:
        """Return when the API answers and takes the key. Raises Unavailable or ProblemError."""
        with suppress(NotFound):
            self._call("GET", digest_of(b"nothing is called like this"), patience_s=0)

    def _call(
        self, method: str, digest: str, data: bytes | None = None, patience_s: float = PATIENCE_S
    ) -> httpx.Response:
        deadline = time.monotonic() + patience_s
        while True:
            error = self._try(method, digest, data)
            if isinstance(error, httpx.Response):
                return error
            passing = isinstance(error, Unavailable)
            if not passing or time.monotonic() > deadline:
                raise error
            self._sleep(PAUSE_S)

    def _try(self, method: str, digest: str, data: bytes | None) -> httpx.Response | MicrodoseError:
        """A good answer, or what went wrong: Unavailable where that may pass."""
        where = f"{self._http.base_url}{self._path}/{digest}"
        try:
            answer = self._http.request(method, f"{self._path}/{digest}", content=data)
        except httpx.TransportError as error:
            return Unavailable(f"cannot reach {where}: {error or type(error).__name__}")
        if answer.is_success:
            return answer
        if answer.status_code == 404:
            return NotFound(f"no {where}")
        if answer.status_code in BUSY or (answer.status_code >= 500 and answer.status_code != FULL):
            return Unavailable(f"{where} answers {answer.status_code}")
        try:
            problem = Problem.model_validate_json(answer.content)
        except ValidationError:
            return Unavailable(f"{where} answers {answer.status_code}, and is no Microdose API")
        return NoSpace(f"{where}: {problem.detail}") if problem.slug == "no-space" else ProblemError(problem)


def originals(settings: Settings) -> Shelf:
    """The publishers' pictures, and pictures that jobs have encoded but not published."""
    return _remote(settings, "originals") or _local(settings, blobs.originals)


def checkpoints(settings: Settings) -> Shelf:
    """What running jobs have reached."""
    return _remote(settings, "checkpoints") or _local(settings, blobs.checkpoints)


def public_blobs(settings: Settings) -> Shelf:
    """What viewers may fetch."""
    return _remote(settings, "blobs") or _local(settings, blobs.public_blobs)


def live_blobs(settings: Settings) -> Shelf:
    """The same for live pictures, which are small and cannot wait: they may have the reserve."""
    return _remote(settings, "blobs") or LocalShelf(blobs.public_blobs(settings.data_dir), reserve=0)


def _local(settings: Settings, store: Callable[[Path], BlobStore]) -> Shelf:
    return LocalShelf(store(settings.data_dir), settings.reserve_bytes)


def _remote(settings: Settings, kind: str) -> Shelf | None:
    """The API's, unless this machine has its data folder."""
    url = settings.blobs_url
    return None if url is None else RemoteShelf(url, kind, os.environ.get(KEY, ""))
