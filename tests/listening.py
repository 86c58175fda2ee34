"""Server-sent events as a test hears them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Protocol

import httpx


@dataclass(frozen=True)
class Sent:
    """One server-sent event."""

    name: str
    data: str
    id: str | None


class Spoken(Protocol):
    """A server that is spoken to."""

    @property
    def http(self) -> httpx.Client: ...


@contextmanager
def listening(server: Spoken, path: str, last: str | None = None) -> Iterator[Iterator[Sent]]:
    """The events of a stream as they arrive; the stream stands when this returns."""
    headers = {"Last-Event-ID": last} if last else {}
    with server.http.stream("GET", path, headers=headers) as answer:
        assert answer.status_code == 200
        assert answer.headers["content-type"].startswith("text/event-stream")
        lines = answer.iter_lines()
        assert next(lines) == ": microdose"
        yield parse(lines)


def parse(lines: Iterator[str]) -> Iterator[Sent]:
    """The events in the lines of a stream."""
    fields: dict[str, str] = {}
    for line in lines:
        if line:
            name, _, value = line.partition(": ")
            fields[name] = value
        elif "event" in fields:
            yield Sent(fields["event"], fields["data"], fields.get("id"))
            fields = {}


def take(events: Iterator[Sent], count: int) -> list[Sent]:
    """The next so many of them."""
    return [next(events) for _ in range(count)]
