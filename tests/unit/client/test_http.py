"""The door to HTTP: what is tried again, what is not, and what each failure is called."""

import socket
from collections.abc import Iterator
from dataclasses import replace

import pytest

from microdose.errors import CorruptStream, MicrodoseError, NotFound, Removed, Unavailable
from microdose.patience import Retry, Timeouts
from microdose.problem import ProblemError
from microdose.resources import Job
from microdose_client.http import Http, parse
from microdose_client.threads import Loop
from tests.loopback import Loopback, Reply, Request, json_reply, problem_reply

SLEPT: list[float] = []


async def slept(seconds: float) -> None:
    SLEPT.append(seconds)


RETRY = Retry(attempts=3, sleep=slept, draw=lambda: 1.0)
SHORT = Timeouts(connect=5.0, read=0.2, total=30.0)


class Script:
    """Answers one reply after the other, then the last one for ever."""

    def __init__(self, *replies: Reply) -> None:
        self.replies = list(replies)

    def __call__(self, request: Request) -> Reply:
        return self.replies.pop(0) if len(self.replies) > 1 else self.replies[0]


LOOP = Loop()
run = LOOP.run


@pytest.fixture(scope="module", autouse=True)
def _end() -> Iterator[None]:
    yield
    LOOP.close()


@pytest.fixture
def server() -> Iterator[Loopback]:
    SLEPT.clear()
    with Loopback(Script(json_reply("fine"))) as server:
        yield server


@pytest.fixture
def http(server: Loopback) -> Iterator[Http]:
    http = Http(server.url, key="md_k_s", retry=RETRY)
    yield http
    run(http.close)


def test_sends_the_key_and_wants_no_compression(server: Loopback, http: Http) -> None:
    assert run(http.call, "GET", "/v1/x", params={"a": "b"}).body == b'"fine"'
    (request,) = server.requests
    assert request.path == "/v1/x?a=b"
    assert request.headers["authorization"] == "Bearer md_k_s"
    assert request.headers["accept-encoding"] == "identity"


def test_a_server_below_a_path_keeps_the_path(server: Loopback) -> None:
    http = Http(f"{server.url}/photos/")
    run(http.call, "GET", "/v1/x")
    run(http.close)
    assert server.requests[0].path == "/photos/v1/x"


@pytest.mark.parametrize("status", [429, 500, 502, 503, 504])
def test_a_repeatable_call_outlives_passing_trouble(server: Loopback, http: Http, status: int) -> None:
    server.answer = Script(Reply(status), Reply(status), json_reply("fine"))
    assert run(http.call, "PUT", "/v1/x", content=b"data").body == b'"fine"'
    assert [request.body for request in server.requests] == [b"data"] * 3
    assert SLEPT == [0.5, 1.0]


def test_gives_up_after_the_last_try(server: Loopback, http: Http) -> None:
    server.answer = Script(problem_reply("unavailable", "Redis is away"))
    with pytest.raises(ProblemError, match="Redis is away"):
        run(http.call, "GET", "/v1/x")
    assert len(server.requests) == RETRY.attempts


def test_waits_as_long_as_the_server_asks(server: Loopback, http: Http) -> None:
    server.answer = Script(
        problem_reply("too-many-requests", "slowly", {"Retry-After": "7"}), json_reply("fine")
    )
    run(http.call, "POST", "/v1/x", repeatable=False)
    assert SLEPT == [7.0]


def test_what_may_have_happened_is_not_repeated(server: Loopback, http: Http) -> None:
    server.answer = Script(Reply(500))
    with pytest.raises(Unavailable, match="answered 500 to POST"):
        run(http.call, "POST", "/v1/x", repeatable=False)
    assert len(server.requests) == 1


def test_an_answer_cut_short_is_tried_again(server: Loopback, http: Http) -> None:
    server.answer = Script(Reply(200, b"ha", length=10), json_reply("fine"))
    assert run(http.call, "GET", "/v1/x").body == b'"fine"'


@pytest.mark.parametrize(
    ("slug", "error"),
    [
        ("unauthorized", ProblemError),
        ("bad-picture", ProblemError),
        ("conflict", ProblemError),
        ("not-found", NotFound),
        ("gone", Removed),
        ("no-space", ProblemError),
        ("over-quota", ProblemError),
    ],
)
def test_a_refusal_is_final_and_in_the_servers_words(
    server: Loopback, http: Http, slug: str, error: type[MicrodoseError]
) -> None:
    server.answer = Script(problem_reply(slug, "because"))
    with pytest.raises(error, match="because"):
        run(http.call, "GET", "/v1/x")
    assert len(server.requests) == 1


@pytest.mark.parametrize(
    "reply",
    [
        Reply(404, b"<html>", {"Content-Type": "text/html"}),
        Reply(302, b"", {"Location": "https://elsewhere.example/"}),
        Reply(400, b"{", {"Content-Type": "application/problem+json"}),
    ],
)
def test_an_answer_that_is_not_ours_is_unavailable(server: Loopback, http: Http, reply: Reply) -> None:
    server.answer = Script(reply)
    with pytest.raises(Unavailable, match=f"answered {reply.status}.* is it a Microdose server"):
        run(http.call, "GET", "/v1/x")


def test_a_body_over_the_limit_is_not_kept(server: Loopback, http: Http) -> None:
    server.answer = Script(Reply(200, bytes(1001)))
    with pytest.raises(CorruptStream, match="more than 1000 bytes"):
        run(http.call, "GET", "/v1/x", limit=1000)


def test_the_limit_is_for_success_only(server: Loopback, http: Http) -> None:
    server.answer = Script(problem_reply("not-found", "no such blob"))
    with pytest.raises(NotFound):
        run(http.call, "GET", "/v1/x", limit=3)


def test_nobody_there() -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}"
        http = Http(url, retry=RETRY)
        with pytest.raises(Unavailable, match=f"cannot reach {url}"):
            run(http.call, "POST", "/v1/x", repeatable=False)
        run(http.close)


def test_a_server_that_stalls_is_given_up_in_bounded_time() -> None:
    with socket.create_server(("127.0.0.1", 0)) as mute:
        http = Http(
            f"http://127.0.0.1:{mute.getsockname()[1]}", retry=replace(RETRY, attempts=1), timeouts=SHORT
        )
        with pytest.raises(Unavailable, match="cannot reach"):
            run(http.call, "GET", "/v1/x")
        run(http.close)


def test_a_server_that_drips_is_given_up_too(server: Loopback) -> None:
    server.answer = Script(Reply(200, bytes(10)))
    http = Http(server.url, retry=replace(RETRY, attempts=1), timeouts=Timeouts(total=-1.0))
    with pytest.raises(Unavailable, match="not complete after"):
        run(http.call, "GET", "/v1/x")
    run(http.close)


@pytest.mark.parametrize("server", ["localhost:8710", "redis://x", "", "http://", "ftp://host"])
def test_what_is_not_a_server_url(server: str) -> None:
    with pytest.raises(Unavailable, match=r"give a URL like http://127\.0\.0\.1:8710"):
        Http(server)


@pytest.mark.parametrize("key", ["md_x y", "md_é", "md_x\r\nEvil: 1"])
def test_what_cannot_be_a_key(key: str) -> None:
    with pytest.raises(ProblemError, match="API key"):
        Http("http://127.0.0.1", key=key)


def test_names_hold_no_password() -> None:
    http = Http("http://user:secret@127.0.0.1:1/")
    assert http.name == "http://127.0.0.1:1"
    run(http.close)


def test_an_answer_of_another_kind_is_corrupt(http: Http) -> None:
    with pytest.raises(CorruptStream, match="not a Job"):
        parse(run(http.call, "GET", "/v1/x"), Job)
