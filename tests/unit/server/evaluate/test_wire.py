"""A connection: what comes, and what is no answer."""

import asyncio

import pytest

from microdose.errors import Unavailable
from microdose_server.evaluate.fanout import address
from microdose_server.evaluate.wire import Wire
from tests.loopback import Loopback, Reply, Request


def get(loopback: Loopback, *paths: str) -> list[bytes]:
    async def main() -> list[bytes]:
        async with Wire.open(*address(loopback.url), "a-key") as wire:
            return [await wire.get(path) for path in paths]

    return asyncio.run(main())


def test_one_connection_serves_for_all_and_says_who_asks() -> None:
    with Loopback(lambda request: Reply(body=request.path.encode())) as loopback:
        assert get(loopback, "/a", "/b") == [b"/a", b"/b"]
        assert {request.headers["authorization"] for request in loopback.requests} == {"Bearer a-key"}


def test_an_error_is_told_with_its_words() -> None:
    def answer(request: Request) -> Reply:
        return Reply(404, b"nothing here")

    with Loopback(answer) as loopback, pytest.raises(Unavailable, match=r"/a is answered with .*404"):
        get(loopback, "/a")


def test_an_answer_comes_in_chunks() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
        writer.write(b"5\r\nfirst\r\nA\r\nand second\r\n0\r\n\r\n")
        writer.close()

    async def main() -> list[bytes]:
        server = await asyncio.start_server(serve, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        async with server, Wire.open("127.0.0.1", port, "key") as wire:
            return [piece async for piece in wire.stream("/")]

    assert asyncio.run(main()) == [b"", b"first", b"and second"]
