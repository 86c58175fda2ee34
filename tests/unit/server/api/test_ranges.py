from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from starlette.exceptions import HTTPException

from microdose_server.api.ranges import settle

ETAG = '"sha256:ab"'


def is_kept(wanted: str, size: int = 100, condition: str | None = None) -> bool:
    """Whether the header is still there after `settle`."""
    headers = [(b"host", b"x"), (b"range", wanted.encode("latin-1"))]
    headers += [(b"if-range", condition.encode())] if condition else []
    scope = {"type": "http", "headers": headers}
    settle(scope, ETAG, size)
    return any(name == b"range" for name, _ in scope["headers"])


@pytest.mark.parametrize("wanted", ["bytes=0-0", "bytes=99-", "bytes=-1", "bytes=-500", "Bytes = 0-1, 5-6"])
def test_what_can_be_served_stays(wanted: str) -> None:
    assert is_kept(wanted)
    assert is_kept(wanted, condition=ETAG)


@pytest.mark.parametrize("wanted", ["", "bytes", "bytes=", "bytes=-", "bytes=2-1", "bytes=0-1,", "bytes=²-"])
def test_what_is_malformed_is_dropped(wanted: str) -> None:
    assert not is_kept(wanted)


def test_what_is_meant_for_other_bytes_is_dropped() -> None:
    assert not is_kept("bytes=0-1", condition='"other"')
    assert not is_kept("bytes=500-", condition="Wed, 21 Oct 2015 07:28:00 GMT")


@pytest.mark.parametrize(("wanted", "size"), [("bytes=100-", 100), ("bytes=-0", 100), ("bytes=0-", 0)])
def test_what_lies_outside_is_refused(wanted: str, size: int) -> None:
    with pytest.raises(HTTPException) as caught:
        is_kept(wanted, size)
    assert caught.value.status_code == 416
    assert caught.value.headers == {"Content-Range": f"bytes */{size}"}


def test_no_range_is_no_matter() -> None:
    settle({"type": "http", "headers": []}, ETAG, 0)


@given(st.text(st.characters(max_codepoint=255)), st.integers(0, 10**9))
def test_no_text_upsets_it(text: str, size: int) -> None:
    with suppress(HTTPException):
        is_kept("bytes=" + text, size)
