"""One HTTP/1.1 connection with as little around it as can be, so that a thousand fit into one process."""

import asyncio
import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Self

from microdose.errors import Unavailable

_STATUS = re.compile(rb"HTTP/1\.1 (\d{3})")
_LENGTH = re.compile(rb"\r\ncontent-length: (\d+)\r\n", re.IGNORECASE)


class Wire:
    """A connection that stays open. For servers that are trusted: nothing is bounded."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, head: str) -> None:
        """Use `open`."""
        self._reader, self._writer, self._head = reader, writer, head

    @classmethod
    @asynccontextmanager
    async def open(cls, host: str, port: int, key: str) -> AsyncIterator[Self]:
        """Connect, with an API key for every request."""
        reader, writer = await asyncio.open_connection(host, port)
        try:
            yield cls(reader, writer, f"Host: {host}:{port}\r\nAuthorization: Bearer {key}\r\n\r\n")
        finally:
            writer.close()

    async def get(self, path: str) -> bytes:
        """The body of an answer that tells its length. Raises Unavailable for any other."""
        head = await self._ask(path)
        length = _LENGTH.search(head)
        if length is None:
            raise Unavailable(f"{path} is answered without a length: {head[:200]!r}")
        return await self._reader.readexactly(int(length[1]))

    async def stream(self, path: str) -> AsyncGenerator[bytes]:
        """The chunks of an answer that is sent in chunks; the first is empty: the answer has begun."""
        await self._ask(path)
        yield b""
        while size := int(await self._reader.readline(), 16):
            yield await self._reader.readexactly(size)
            await self._reader.readexactly(2)

    async def _ask(self, path: str) -> bytes:
        self._writer.write(f"GET {path} HTTP/1.1\r\n{self._head}".encode())
        head = await self._reader.readuntil(b"\r\n\r\n")
        status = _STATUS.match(head)
        if status is None or status[1] != b"200":
            raise Unavailable(f"{path} is answered with {head[:200]!r}")
        return head
