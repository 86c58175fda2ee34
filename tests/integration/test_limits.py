"""Clients that hold on to the server: slow heads, slow bodies, slow readers, too many of anything."""

import contextlib
import json
import re
import socket
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from urllib.parse import urlsplit

import httpx
import pytest

from microdose import keys
from microdose_server.store.apikeys import Scope
from microdose_server.store.lock import poll
from tests.served import Serve, Served, problem

PATIENCE_S = 60.0
CHUNKED = b"Transfer-Encoding: chunked"
HEAD = b"GET /livez HTTP/1.1\r\nHost: x\r\n"


@contextmanager
def connection(served: Served) -> Iterator[socket.socket]:
    """A bare connection to the API, which waits long for what comes."""
    url = urlsplit(served.url)
    with socket.create_connection((url.hostname, url.port or 0), PATIENCE_S) as made:
        yield made


def everything(made: socket.socket) -> bytes:
    """All that arrives until the server ends the connection."""
    found = b""
    with contextlib.suppress(ConnectionResetError):
        while part := made.recv(1 << 16):
            found += part
    return found


def send(made: socket.socket, data: bytes) -> None:
    """Send it, unless the server has had enough already."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        made.sendall(data)


def dribble(made: socket.socket, part: bytes) -> bytes:
    """Send `part` again and again until the server has had enough; what it said."""
    with contextlib.suppress(ConnectionResetError, BrokenPipeError):
        while True:
            made.settimeout(0.05)
            made.sendall(part)
            with contextlib.suppress(TimeoutError):
                first = made.recv(1 << 16)
                made.settimeout(PATIENCE_S)
                return first + everything(made)
    return b""


@pytest.mark.parametrize("sent", [b"", b"G", HEAD])
def test_a_head_that_never_ends_is_broken_off(serve: Serve, sent: bytes) -> None:
    served = serve(head_s=0.2)
    with connection(served) as made:
        send(made, sent)
        assert everything(made) == b""


def test_so_is_the_head_of_a_second_request(serve: Serve) -> None:
    served = serve(head_s=5.0)
    with connection(served) as made:
        made.sendall(HEAD + b"\r\n")
        answer = b""
        while not answer.endswith(b'{"status":"ok"}'):
            part = made.recv(1 << 16)
            assert part, answer
            answer += part
        send(made, HEAD)
        assert everything(made) == b""


def test_a_head_that_is_dribbled_is_broken_off(serve: Serve) -> None:
    served = serve(head_s=0.5)
    with connection(served) as made:
        send(made, HEAD)
        assert dribble(made, b"X: 1\r\n") == b""


def test_a_head_that_is_too_large_is_refused(served: Served) -> None:
    with connection(served) as made:
        made.sendall(HEAD + b"X: " + b"x" * 40_000)
        assert_refused(everything(made))


def test_what_is_no_http_is_refused_as_a_problem(served: Served) -> None:
    with connection(served) as made:
        made.sendall(b"\x16\x03\x01\x02\x00\x01\x00\x01\r\n\r\n")
        assert_refused(everything(made))


@pytest.mark.parametrize("method", ["PUT", "HEAD"])
def test_a_body_that_turns_out_not_to_be_http_is_refused(
    served: Served, caplog: pytest.LogCaptureFixture, method: str
) -> None:
    """Whether the request it belongs to was answered by then or not."""
    head = frame_head(served, 5).replace(b"PUT", method.encode()).replace(b"Content-Length: 5", CHUNKED)
    with connection(served) as made:
        made.sendall(head + b"5\r\nsome \r\nno length\r\n")
        answer = everything(made)
    assert re.match(rb"HTTP/1.1 (400|405) ", answer)
    assert not errors_in(caplog)


@pytest.mark.parametrize("form", [False, True])
def test_a_client_that_leaves_in_the_middle_is_no_fault_of_ours(
    served: Served, caplog: pytest.LogCaptureFixture, form: bool
) -> None:
    head, failed = frame_head(served, 1000), failures(served)
    if form:
        path = b"POST /v1/sequences:upload HTTP/1.1"
        kind = b"\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        head = path + head[head.index(b"\r\n") : -4] + kind
    with caplog.at_level("INFO"):
        with connection(served) as made:
            made.sendall(head + b"--x\r\n")
        target = head.split()[1].decode()
        assert poll(lambda: any(target in record.getMessage() for record in caplog.records), PATIENCE_S)
    assert not errors_in(caplog)
    assert failures(served) == failed


def failures(served: Served) -> list[str]:
    """What the API has counted of its own failures: other tests before may have wanted some."""
    lines = httpx.get(f"{served.url}/metrics").text.splitlines()
    return [line for line in lines if line.startswith("microdose_requests_total") and "5xx" in line]


def errors_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [record.getMessage() for record in caplog.records if record.levelname in ("ERROR", "CRITICAL")]


def assert_refused(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 400 ")
    assert b"application/problem+json" in head
    assert json.loads(body)["type"] == "/problems/invalid-request"


def frame_head(served: Served, length: int) -> bytes:
    """The head of a PUT of a picture of that length."""
    lines = [
        f"PUT /v1/sequences/{served.create()}/frames/0 HTTP/1.1",
        "Host: x",
        f"Authorization: {served.http.headers['authorization']}",
        f"Content-Length: {length}",
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


@pytest.mark.parametrize("sent", [b"", b"some"])
def test_a_body_that_never_comes_is_answered_408(serve: Serve, sent: bytes) -> None:
    served = serve(silence_s=1.0)
    with connection(served) as made:
        made.sendall(frame_head(served, 1000) + sent)
        assert_too_slow(everything(made))
    assert served.originals() == []


def test_a_body_that_is_dribbled_is_answered_408(serve: Serve) -> None:
    served = serve(silence_s=1.0, min_body_rate=1000)
    with connection(served) as made:
        made.sendall(frame_head(served, 10**6))
        assert_too_slow(dribble(made, b"x"))


def assert_too_slow(answer: bytes) -> None:
    head, _, body = answer.partition(b"\r\n\r\n")
    assert head.startswith(b"HTTP/1.1 408 ")
    assert json.loads(body)["type"] == "/problems/too-slow"


def test_a_client_that_reads_nothing_is_broken_off(serve: Serve) -> None:
    served = serve(stall_s=0.2)
    job = served.queued()
    line = json.dumps({"type": "segment", "pad": "x" * 900})
    with served.bus.pipeline() as pipeline:
        for n in range(1, 20_001):
            pipeline.xadd(keys.events(job.sequence), {"event": line}, id=f"{n}-0")
        pipeline.execute()
    head = f"GET /v1/sequences/{job.sequence}/events HTTP/1.1\r\nHost: x\r\n"
    head += f"Authorization: {served.http.headers['authorization']}\r\n\r\n"
    ended = 'operation="events-follow",status="2xx"'
    with connection(served) as made:
        made.sendall(head.encode())
        assert poll(lambda: ended in httpx.get(f"{served.url}/metrics").text, PATIENCE_S)
        assert len(everything(made)) < 20_000 * 900


def test_connections_are_counted(serve: Serve) -> None:
    served = serve(max_connections=3)
    with ExitStack() as stack:
        made = [stack.enter_context(connection(served)) for _ in range(3)]
        for each in made:
            each.sendall(HEAD + b"\r\n")
            assert each.recv(1 << 16)
        with connection(served) as fourth:
            assert everything(fourth) == b""
    assert poll(lambda: _answers(served), PATIENCE_S)


def _answers(served: Served) -> bool:
    with contextlib.suppress(httpx.TransportError):
        return httpx.get(f"{served.url}/livez").status_code == 200
    return False


def test_event_streams_are_counted_for_each_key(serve: Serve) -> None:
    served = serve(max_streams=2)
    job = served.queued()
    paths = [f"/v1/sequences/{job.sequence}/events", f"/v1/jobs/{job.id}/events"]
    one, other = served.key(Scope.VIEW), served.key(Scope.VIEW)
    with ExitStack() as stack:
        for path in paths:
            stream = stack.enter_context(served.http.stream("GET", path, headers=one))
            assert stream.status_code == 200
        for path in paths:
            refused = served.http.get(path, headers=one)
            problem(refused, "too-many-requests")
            assert refused.headers["retry-after"]
        assert served.http.get(f"/v1/jobs/{job.id}", headers=one).status_code == 200
        with served.http.stream("GET", paths[0], headers=other) as stream:
            assert stream.status_code == 200
    assert poll(lambda: _opens(served, paths[0], one), PATIENCE_S)


def _opens(served: Served, path: str, key: dict[str, str]) -> bool:
    with served.http.stream("GET", path, headers=key) as stream:
        return stream.status_code == 200


def test_a_stream_that_is_not_found_is_not_counted(serve: Serve) -> None:
    served = serve(max_streams=1)
    for _ in range(3):
        problem(served.http.get(f"/v1/jobs/{26 * '0'}/events"), "not-found")


@pytest.mark.parametrize("opening", [b"[", b'{"name":'])
def test_json_that_is_too_deep_is_refused(served: Served, opening: bytes) -> None:
    headers = {"Content-Type": "application/json"}
    answer = served.http.post("/v1/sequences", content=opening * 7000, headers=headers)
    problem(answer, "invalid-request")
