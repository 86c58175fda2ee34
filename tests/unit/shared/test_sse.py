"""Server-sent events: whatever the pieces, the same messages."""

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.errors import CorruptStream
from microdose.sse import MAX_MESSAGE_BYTES, Message, Parser

STREAM = (
    b": microdose\nretry: 2000\n\n"
    b'event: segment\ndata: {"seq":7}\nid: 7-0\n\n'
    b": ping\r\n\r\n"
    b"data: a\ndata: b\n\n"
    b"event: bye\ndata: {}\n\n"
    b"event: cut sho"
)
MESSAGES = [
    Message(),
    Message("segment", "7-0", '{"seq":7}'),
    Message(),
    Message("message", "", "a\nb"),
    Message("bye", "", "{}"),
]


@given(st.lists(st.integers(0, len(STREAM)), max_size=20))
def test_pieces_of_any_size_give_the_same_messages(cuts: list[int]) -> None:
    parser = Parser()
    edges = [0, *sorted(cuts), len(STREAM)]
    pieces = [STREAM[low:high] for low, high in pairwise(edges)]
    assert [message for piece in pieces for message in parser.feed(piece)] == MESSAGES


@pytest.mark.parametrize("data", [b"x" * (MAX_MESSAGE_BYTES + 1), b"data: \xff\n\n"])
def test_what_is_no_event_stream(data: bytes) -> None:
    with pytest.raises(CorruptStream, match="event"):
        list(Parser().feed(data))
