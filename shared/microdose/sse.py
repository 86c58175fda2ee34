"""Server-sent events (WHATWG HTML 9.2) as far as our server writes them: bytes in, messages out. No I/O."""

from collections.abc import Iterator
from typing import NamedTuple

from microdose.errors import CorruptStream

MAX_MESSAGE_BYTES = 2**16


class Message(NamedTuple):
    """One message; `event` is empty for a comment, which a server sends to show that it is there."""

    event: str = ""
    id: str = ""
    data: str = ""


class Parser:
    """Takes an event stream in pieces of any size."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, piece: bytes) -> Iterator[Message]:
        """The messages that `piece` completes. Raises CorruptStream for one over 64 KiB or not in UTF-8."""
        *blocks, self._rest = (self._rest + piece).replace(b"\r\n", b"\n").split(b"\n\n")
        if max(map(len, (self._rest, *blocks))) > MAX_MESSAGE_BYTES:
            raise CorruptStream(f"an event of more than {MAX_MESSAGE_BYTES} bytes: this is no event stream")
        for block in blocks:
            yield _message(block)


def _message(block: bytes) -> Message:
    try:
        lines = block.decode().split("\n")
    except UnicodeDecodeError:
        raise CorruptStream("an event that is not in UTF-8") from None
    fields: dict[str, list[str]] = {}
    for line in lines:
        name, _, value = line.partition(":")
        fields.setdefault(name, []).append(value.removeprefix(" "))
    if "data" not in fields:
        return Message()
    last = {name: values[-1] for name, values in fields.items()}
    return Message(last.get("event", "message"), last.get("id", ""), "\n".join(fields["data"]))
