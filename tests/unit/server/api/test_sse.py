import asyncio

import pytest

from microdose.problem import ProblemError
from microdose_server.api import sse


def test_an_event_on_the_wire() -> None:
    assert sse.message("segment", b'{"n":1}', "7-0") == b'event: segment\ndata: {"n":1}\nid: 7-0\n\n'
    assert sse.message("reset", "{}") == b"event: reset\ndata: {}\n\n"
    assert sse.bye() == b"event: bye\ndata: {}\n\n"


def test_what_is_no_event() -> None:
    for comment in (sse.ping(), sse.opening()):
        assert comment.startswith(b":")
        assert comment.endswith(b"\n\n")


def test_the_header_goes_before_the_parameter() -> None:
    assert asyncio.run(sse.resume_id("5-0", "6-0")) == "5-0"
    assert asyncio.run(sse.resume_id(None, "6-0")) == "6-0"
    assert asyncio.run(sse.resume_id(None, None)) == "0-0"


def test_what_is_no_id_is_refused() -> None:
    with pytest.raises(ProblemError, match="not the id"):
        asyncio.run(sse.resume_id("x", None))
