"""Sending bytes to an API and looking at the answer as far as needed to tell whether it is one.

whole request --in pieces--> status below 500 in time; else a crash, or a hang
part of one   --end of sending, or silence--> the connection ends in time
"""

import json
import re
import socket
import time
from contextlib import suppress
from random import Random

import h11

from benchmarks.parts.requests import Scene

ABANDONED, SILENT = 0.05, 0.02
"""How often nobody waits for the answer, and how often who sent a part of a request sends no end either."""
MAX_ANSWER = 1 << 20
PROMPT_S = 0.02
"""Who is held up for longer while sending, by a busy machine, may be broken off, or lose the answer with the
connection: no answer then tells nothing.
"""
STATUS = re.compile(rb"HTTP/1\.1 ([0-9]{3}) ")


class Crash(Exception):
    """The API has failed, or says so."""


class Hang(Exception):
    """Nothing came in time."""


def ask(scene: Scene, data: bytes, *, patience_s: float = 8.0) -> int | None:
    """Send `data`, and undo what it has made; returns the answer's status, if there was one, and anybody was
    there to hear it. Raises Crash or Hang.
    """
    random = Random(data)
    whole, begin = is_request(data), time.monotonic()
    try:
        with socket.create_connection(("127.0.0.1", scene.port), timeout=patience_s) as connection:
            send(connection, data, random)
            prompt = time.monotonic() - begin < PROMPT_S
            if random.random() < ABANDONED:
                return None
            if not whole and random.random() >= SILENT:
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_WR)
            answer = receive(connection)
    except TimeoutError:
        raise Hang(f"no answer in {patience_s:g} s") from None
    except ConnectionRefusedError:
        raise Crash("nobody listens") from None
    found = STATUS.match(answer)
    status = int(found[1]) if found else None
    if (status is None and whole and prompt) or (status is not None and status >= 500):
        raise Crash(f"answered {answer[:300]!r}")
    if status in (201, 202):
        undo(scene, answer, patience_s)
    return status


def is_request(data: bytes) -> bool:
    """Whether a server has all it needs to answer: a whole request, or what cannot become one."""
    connection = h11.Connection(h11.SERVER)
    try:
        connection.receive_data(data)
        while not isinstance(event := connection.next_event(), h11.EndOfMessage):
            if event in (h11.NEED_DATA, h11.PAUSED) or isinstance(event, h11.ConnectionClosed):
                return False
    except h11.RemoteProtocolError:
        pass
    return True


def send(connection: socket.socket, data: bytes, random: Random) -> None:
    """In one to three pieces; whoever has heard enough may end the connection before the last."""
    cuts = sorted(random.randrange(len(data) + 1) for _ in range(random.randrange(3)))
    with suppress(BrokenPipeError, ConnectionResetError):
        for start, stop in zip([0, *cuts], [*cuts, len(data)], strict=True):
            connection.sendall(data[start:stop])


def receive(connection: socket.socket) -> bytes:
    """The head of the answer, with the body of one that tells of something new; less where that is all."""
    answer = b""
    with suppress(ConnectionResetError):
        while len(answer) < MAX_ANSWER and not _is_enough(answer):
            if not (piece := connection.recv(1 << 16)):
                break
            answer += piece
    return answer


def _is_enough(answer: bytes) -> bool:
    head, end, body = answer.partition(b"\r\n\r\n")
    if not end or head.startswith(b"HTTP/1.1 100"):
        return head.startswith(b"HTTP/1.1 100") and _is_enough(body)
    if not head.startswith((b"HTTP/1.1 201", b"HTTP/1.1 202")):
        return True
    length = re.search(rb"\r\ncontent-length: ([0-9]+)", head, re.IGNORECASE)
    return length is None or len(body) >= int(length[1])


def undo(scene: Scene, answer: bytes, patience_s: float) -> None:
    """Remove a sequence that a request has opened, so that there are never many."""
    with suppress(ValueError):
        made = json.loads(answer.rpartition(b"\r\n\r\n")[2])
        name = made.get("sequence") or made.get("id")
        if name and name not in (scene.published, scene.open, scene.live):
            lines = [f"DELETE /v1/sequences/{name} HTTP/1.1", "Host: localhost"]
            lines += [f"Authorization: Bearer {scene.key}", "Connection: close", "", ""]
            with socket.create_connection(("127.0.0.1", scene.port), timeout=patience_s) as connection:
                connection.sendall("\r\n".join(lines).encode())
                receive(connection)
