"""What a stranger may do to an HTTP request.

request line | headers | body --1 to 3 of: target, method, header, body, chunks--> together again
                                                one in 8 is changed anywhere, one in 8 cut off
"""

import re
from collections.abc import Callable
from random import Random
from typing import NamedTuple
from urllib.parse import parse_qsl

from benchmarks.parts.mutate import mutate
from benchmarks.parts.words import CHUNKS, HEADERS, METHODS, SEGMENTS

END = b"\r\n"


class Parts(NamedTuple):
    """A request taken apart."""

    line: bytes
    headers: tuple[bytes, ...]
    body: bytes


def hostile_request(valid: bytes, random: Random) -> bytes:
    """The request, changed."""
    head, _, body = valid.partition(END + END)
    line, *headers = head.split(END)
    parts = Parts(line, tuple(headers), body)
    for change in random.choices(CHANGES, k=random.randint(1, 3)):
        parts = change(parts, random)
    line = shortly(parts.line)
    whole = END.join((line, *parts.headers, b"", parts.body))
    fate = random.randrange(8)
    if fate == 0:
        first, rest = whole.split(END, 1)
        whole = END.join((first, mutate(rest, random)))
    return whole[: random.randrange(len(whole))] if fate == 1 else whole


def shortly(line: bytes) -> bytes:
    """The request line without a wish to wait for news: an answer that is held back looks like a hang."""
    query = line.decode("latin-1").partition("?")[2].rpartition(" ")[0]
    for name, value in parse_qsl(query, keep_blank_values=True):
        if name == "wait" and not re.fullmatch("-?0*", value):
            return line.partition(b"?")[0] + b" HTTP/1.1"
    return line


def _target(parts: Parts, random: Random) -> Parts:
    method, _, rest = parts.line.partition(b" ")
    target, _, version = rest.rpartition(b" ")
    pieces = re.split(rb"([/?&=])", target)
    n = random.randrange(len(pieces))
    pieces[n] = random.choice(SEGMENTS) if random.random() < 0.5 else mutate(pieces[n], random)
    return parts._replace(line=b" ".join((method, b"".join(pieces).replace(END, b""), version)))


def _method(parts: Parts, random: Random) -> Parts:
    return parts._replace(line=random.choice(METHODS) + b" " + parts.line.partition(b" ")[2])


def _header(parts: Parts, random: Random) -> Parts:
    headers = list(parts.headers)
    n = random.randrange(len(headers) + 1)
    kind = random.randrange(6)
    if kind < 3 or n == len(headers):
        headers.insert(n, random.choice(HEADERS))
    elif kind == 3:
        headers[n] = mutate(headers[n], random)
    elif kind == 4:
        headers.insert(n, headers[n])
    else:
        del headers[n]
    return parts._replace(headers=tuple(headers))


def _body(parts: Parts, random: Random) -> Parts:
    """Another body, two times in three with its right length."""
    body = mutate(parts.body, random)
    if random.randrange(3) == 0:
        return parts._replace(body=body)
    kept = (line for line in parts.headers if not line.startswith(b"Content-Length"))
    return parts._replace(headers=(*kept, b"Content-Length: %d" % len(body)), body=body)


def _chunks(parts: Parts, random: Random) -> Parts:
    """The body in chunks, every other time with something wrong in them."""
    cut = random.randrange(len(parts.body) + 1)
    pieces = [
        b"%x" % len(piece) + END + piece + END for piece in (parts.body[:cut], parts.body[cut:]) if piece
    ]
    if random.random() < 0.5:
        pieces.insert(random.randrange(len(pieces) + 1), random.choice(CHUNKS) + END + b"abcde" + END)
    kept = (line for line in parts.headers if not line.startswith(b"Content-Length"))
    return Parts(parts.line, (*kept, b"Transfer-Encoding: chunked"), b"".join(pieces) + b"0\r\n\r\n")


CHANGES: tuple[Callable[[Parts, Random], Parts], ...] = (
    _target,
    _target,
    _method,
    _header,
    _header,
    _body,
    _body,
    _chunks,
)
