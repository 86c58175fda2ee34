import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from urllib.parse import urlsplit

import pytest

from benchmarks.parts import asking
from benchmarks.parts.asking import Crash, Hang, ask, is_request
from benchmarks.parts.requests import Scene
from tests.loopback import Loopback, Reply, Request, json_reply
from tests.served import unknown

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"
SceneAt = Callable[[int], Scene]


@pytest.fixture(autouse=True)
def _always_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "ABANDONED", 0)
    monkeypatch.setattr(asking, "PROMPT_S", 60)


def port_of(server: Loopback) -> int:
    return urlsplit(server.url).port or 0


@pytest.mark.parametrize(("status", "good"), [(200, True), (404, True), (500, False), (503, False)])
def test_an_error_of_the_server_is_a_crash(scene_at: SceneAt, status: int, good: bool) -> None:
    with Loopback(lambda request: Reply(status)) as server:
        if good:
            assert ask(scene_at(port_of(server)), GET) == status
        else:
            with pytest.raises(Crash, match=str(status)):
                ask(scene_at(port_of(server)), GET)


@contextmanager
def listening(answer: bytes | None) -> Iterator[int]:
    """Takes one connection and all that is sent; then answers and ends it, or does nothing (None)."""
    over = threading.Event()

    def serve() -> None:
        connection, _ = listener.accept()
        with connection:
            while data := connection.recv(1 << 16):
                if answer is not None and data.endswith(b"\r\n\r\n"):
                    connection.sendall(answer)
                    return
            if answer is None:
                over.wait()

    with socket.create_server(("127.0.0.1", 0)) as listener:
        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()


def test_no_answer_is_a_crash_or_a_hang(scene_at: SceneAt) -> None:
    with listening(b"") as port, pytest.raises(Crash):
        ask(scene_at(port), GET)
    with listening(None) as port, pytest.raises(Hang):
        ask(scene_at(port), GET, patience_s=0.3)
    with pytest.raises(Crash, match="nobody"):
        ask(scene_at(port), GET)


def test_no_answer_to_one_who_was_held_up_tells_nothing(
    scene_at: SceneAt, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(asking, "PROMPT_S", 0)
    with listening(b"") as port:
        assert ask(scene_at(port), GET) is None


def test_a_part_of_a_request_need_not_be_answered(scene_at: SceneAt) -> None:
    with listening(b"") as port:
        assert ask(scene_at(port), GET[:-2]) is None


def test_what_was_made_is_removed(scene_at: SceneAt) -> None:
    mine, other = unknown(), unknown()[::-1]

    def answer(request: Request) -> Reply:
        return json_reply({"id": other if "other" in request.path else mine}, 201)

    with Loopback(answer) as server:
        scene = scene_at(port_of(server))
        for path in ("/mine", "/other"):
            ask(scene, f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        asked = [(request.method, request.path) for request in server.requests]
        assert asked == [("POST", "/mine"), ("POST", "/other"), ("DELETE", f"/v1/sequences/{other}")]


@pytest.mark.parametrize(
    ("data", "whole"),
    [
        (GET, True),
        (GET[:-1], False),
        (b"", False),
        (b"\0\r\n\r\n", True),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nab", False),
        (b"PUT / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nx\r\n", True),
    ],
)
def test_a_whole_request_is_known(data: bytes, whole: bool) -> None:
    assert is_request(data) == whole
