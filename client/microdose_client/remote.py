"""An .mds file as bytes to be read here and there: on disk, or on any web server that knows Range requests.

parts:  GET Range 0-65535 ─► preamble, most headers; then one GET Range per blob that is wanted
whole:  a server that ignores Range sends the file at once: it is kept if it is small
"""

import re
from pathlib import Path
from typing import Protocol

from microdose.errors import CorruptStream, NotFound, Unavailable
from microdose.patience import RETRY, TIMEOUTS, Retry, Timeouts
from microdose_client.http import Answer, Http, Refused
from microdose_client.threads import in_thread

HEAD_BYTES = 2**16
MAX_WHOLE_BYTES = 2**28
"""The largest file that is taken from a server without Range requests; it is kept in memory."""


class File(Protocol):
    """Bytes at offsets."""

    @property
    def name(self) -> str:
        """What to call it in messages."""

    @property
    def size(self) -> int:
        """Bytes in all."""

    async def read(self, offset: int, size: int) -> bytes:
        """`size` bytes from `offset` on, fewer at the end. Raises Unavailable, NotFound."""

    async def close(self) -> None:
        """Let go of it."""


def is_url(place: str | Path) -> bool:
    """Whether a file is meant to be read by HTTP."""
    return str(place).startswith(("http://", "https://"))


async def open_file(
    place: str | Path, timeouts: Timeouts = TIMEOUTS, retry: Retry = RETRY
) -> "LocalFile | RemoteFile":
    """The file at a path or URL. Raises NotFound, Unavailable."""
    if is_url(place):
        return await RemoteFile.open(str(place), timeouts, retry)
    return await in_thread(LocalFile, Path(place))


class LocalFile:
    """A file on disk, open only while it is read."""

    def __init__(self, path: Path) -> None:
        self.name, self._path = str(path), path
        try:
            with path.open("rb"):
                self.size = path.stat().st_size
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}") from None

    async def read(self, offset: int, size: int) -> bytes:
        """As of a File."""
        return await in_thread(self._read, offset, size)

    async def close(self) -> None:
        """Nothing is open."""

    def _read(self, offset: int, size: int) -> bytes:
        try:
            with self._path.open("rb") as file:
                file.seek(offset)
                return file.read(size)
        except OSError as error:
            raise NotFound(f"cannot read {self._path}: {error.strerror}") from None


class RemoteFile:
    """A file on a web server. Only the parts that are asked for travel, if the server can do that."""

    def __init__(self, http: Http, url: str) -> None:
        """Use `open`."""
        self._http, self._url, self.name = http, url, url
        self._head, self.size = b"", 0

    @classmethod
    async def open(cls, url: str, timeouts: Timeouts = TIMEOUTS, retry: Retry = RETRY) -> "RemoteFile":
        """Ask for the beginning. Raises NotFound, Unavailable (also for a big file that comes only whole)."""
        file = cls(Http(url, timeouts=timeouts, retry=retry), url)
        try:
            answer = await file._get(0, HEAD_BYTES, MAX_WHOLE_BYTES)
            file.size = _total(answer) if answer.status == 206 else len(answer.body)
        except BaseException:
            await file.close()
            raise
        file._head = answer.body
        return file

    async def close(self) -> None:
        """Close the connection."""
        await self._http.close()

    async def read(self, offset: int, size: int) -> bytes:
        """As of a File."""
        size = max(0, min(size, self.size - offset))
        if size == 0:
            return b""
        if offset + size <= len(self._head):
            return self._head[offset : offset + size]
        answer = await self._get(offset, size, size)
        if answer.status != 206 or len(answer.body) != size:
            raise Unavailable(f"{self.name}: the server sent {len(answer.body)} bytes in place of {size}")
        return answer.body

    async def _get(self, offset: int, size: int, limit: int) -> Answer:
        headers = {"Range": f"bytes={offset}-{offset + size - 1}"}
        try:
            return await self._http.call(
                "GET", self._url, limit=limit, headers=headers, follow_redirects=True
            )
        except Refused as error:
            if error.status in (404, 410):
                raise NotFound(f"there is no {self._url}") from None
            raise Unavailable(f"the web server answered {error.status} for {self._url}") from None
        except CorruptStream as error:
            detail = f"{error}; it seems not to serve parts of files (HTTP Range): download {self._url} whole"
            raise Unavailable(f"{detail}, and give the path of your copy") from None


def _total(answer: Answer) -> int:
    """The size of the whole file, from Content-Range (RFC 9110)."""
    found = re.fullmatch(r"bytes [0-9]+-[0-9]+/([0-9]{1,16})", answer.headers.get("content-range", ""))
    if found is None:
        raise CorruptStream("the web server does not say how long the file is (Content-Range)")
    return int(found[1])
