"""An upstream read over real HTTP: what it says, what it refuses, how it fails and how it lies."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, asynccontextmanager

import pytest

from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import BadUpstream, MicrodoseError, NotFound, Removed, Unavailable
from microdose.patience import Timeouts
from microdose.problem import ProblemError
from microdose_server.relay.upstream import Upstream
from tests.loopback import Loopback, Reply, problem_reply

pytestmark = pytest.mark.anyio
SHORT = Timeouts(connect=5.0, read=0.2, total=0.4, silence=0.2)
OK = b"HTTP/1.1 200 OK\r\n"
DIGEST = f"sha256:{64 * '0'}"


@pytest.fixture
def server() -> Iterator[Loopback]:
    with Loopback(lambda request: Reply(body=b"bytes", headers={"ETag": '"e"'})) as server:
        yield server


@pytest.fixture
async def upstream(server: Loopback) -> AsyncIterator[Upstream]:
    async with aclosing(Upstream(server.url, "md_own")) as upstream:
        yield upstream


async def test_a_document_is_asked_for_with_the_own_key(server: Loopback, upstream: Upstream) -> None:
    silent = upstream.heard is None
    assert await upstream.document("/v1/x", 5) == b"bytes"
    assert (silent, upstream.heard is None) == (True, False)
    (request,) = server.requests
    assert request.headers["authorization"] == "Bearer md_own"
    assert request.headers["accept-encoding"] == "identity"
    assert "if-none-match" not in request.headers


async def test_what_has_not_changed_is_none(server: Loopback, upstream: Upstream) -> None:
    server.answer = lambda request: Reply(304)
    assert await upstream.document("/v1/x", 5, etag='"e"') is None
    assert server.requests[0].headers["if-none-match"] == '"e"'
    with pytest.raises(BadUpstream):  # it was not asked whether it has
        await upstream.document("/v1/x", 5)


@pytest.mark.parametrize(
    ("reply", "kind", "words"),
    [
        (problem_reply("not-found", "no sequence x"), NotFound, "no sequence x"),
        (problem_reply("gone", "it was removed"), Removed, "it was removed"),
        (problem_reply("unauthorized", "who?"), Unavailable, "does not take the key of this relay: who?"),
        (problem_reply("forbidden", "not you"), Unavailable, "does not take the key of this relay"),
        (problem_reply("too-many-requests", "slow down"), Unavailable, "429: slow down"),
        (problem_reply("unavailable", "no Redis"), Unavailable, "503: no Redis"),
        (Reply(500, b"oops"), Unavailable, "500: without saying why"),
        (Reply(404, b"<html>"), BadUpstream, "is it a Microdose server"),
        (Reply(302, headers={"Location": "http://elsewhere"}), BadUpstream, "answers 302"),
        (Reply(204), BadUpstream, "answers 204"),
        (Reply(body=b"bytes!"), BadUpstream, "more than 5 bytes"),
        (Reply(404, length=1 << 30), BadUpstream, "answers 404"),
        (Reply(body=b"by", length=5), Unavailable, "does not answer"),
    ],
)
async def test_every_other_answer_is_an_error_of_its_kind(
    server: Loopback, upstream: Upstream, reply: Reply, kind: type[MicrodoseError], words: str
) -> None:
    server.answer = lambda request: reply
    with pytest.raises(kind, match=words):
        await upstream.document("/v1/x", 5)


@pytest.mark.parametrize("slug", ["unauthorized", "forbidden"])
async def test_a_viewers_key_that_is_refused_is_the_viewers_affair(
    server: Loopback, upstream: Upstream, slug: str
) -> None:
    server.answer = lambda request: problem_reply(slug, "no")
    with pytest.raises(ProblemError) as caught:
        await upstream.document("/v1/key", 100, key="md_viewer")
    assert (caught.value.problem.slug, caught.value.problem.detail) == (slug, "no")
    assert server.requests[0].headers["authorization"] == "Bearer md_viewer"


async def test_a_blob_that_claims_to_be_too_long_is_not_begun(server: Loopback, upstream: Upstream) -> None:
    server.answer = lambda request: Reply(body=b"x", length=MAX_BLOB_BYTES + 1)
    async with upstream.blob(DIGEST) as pieces:
        with pytest.raises(BadUpstream, match="more than"):
            await anext(pieces.__aiter__())


async def test_events_are_asked_for_from_where_one_was(server: Loopback, upstream: Upstream) -> None:
    server.answer = lambda request: Reply(body=b": microdose\n\nid: 8-0\nevent: end\ndata: {}\n\n")
    async with upstream.events("x", "7-0") as messages:
        assert [(message.event, message.id) async for message in messages] == [("", ""), ("end", "8-0")]
    assert server.requests[0].path == "/v1/sequences/x/events"
    assert server.requests[0].headers["last-event-id"] == "7-0"


async def test_what_is_no_event_stream(server: Loopback, upstream: Upstream) -> None:
    server.answer = lambda request: Reply(body=bytes(1 << 17))
    async with upstream.events("x", "0-0") as messages:
        with pytest.raises(BadUpstream, match="this is no event stream"):
            await anext(messages.__aiter__())


@asynccontextmanager
async def speaking(head: bytes, again: bytes = b"") -> AsyncIterator[str]:
    """The URL of a server that says `head`, and `again` without end or nothing more."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            writer.write(head)
            while again:
                writer.write(again)
                await writer.drain()
            await reader.read()  # until the other side has enough
        except ConnectionError:
            pass
        finally:
            writer.close()

    async with await asyncio.start_server(speak, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def test_a_body_without_end_is_cut(upstream: Upstream) -> None:
    async with (
        speaking(OK + b"\r\n", bytes(1 << 16)) as url,
        aclosing(Upstream(url, "k")) as endless,
    ):
        with pytest.raises(BadUpstream, match="more than 1000000 bytes"):
            await endless.document("/v1/x", 1_000_000)


@pytest.mark.parametrize(
    "head", [b"", b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx"]
)
async def test_one_who_falls_silent_is_waited_for_no_longer_than_allowed(head: bytes) -> None:
    async with speaking(head) as url, aclosing(Upstream(url, "k", timeouts=SHORT)) as stalled:
        with pytest.raises(Unavailable, match="does not answer"):
            await stalled.document("/v1/x", 5)
        with pytest.raises(Unavailable, match="does not answer"):
            async with stalled.events("x", "0-0") as messages:
                await anext(messages.__aiter__(), None)


async def test_what_is_no_http_is_unavailable() -> None:
    async with speaking(b"SSH-2.0-OpenSSH\r\n") as url, aclosing(Upstream(url, "k", timeouts=SHORT)) as other:
        with pytest.raises(Unavailable):
            await other.document("/v1/x", 5)


@pytest.mark.parametrize("url", ["", "origin:8710", "ftp://origin", "http://", "http://xn--\uff61"])
def test_what_is_no_url_is_named(url: str) -> None:
    with pytest.raises(Unavailable, match="is not the URL of an upstream"):
        Upstream(url, "k")


@pytest.mark.parametrize("key", ["", "two words", "zwölf", "a\r\nb"])
def test_what_is_no_key_is_refused(key: str) -> None:
    with pytest.raises(ProblemError, match="MICRODOSE_KEY"):
        Upstream("http://origin", key)


async def test_its_name_holds_no_password() -> None:
    async with aclosing(Upstream("https://me:secret@origin:1/path", "k")) as upstream:
        assert upstream.name == "https://origin:1"
