"""The URL of another server: taken, or refused with an example."""

import pytest

from microdose.errors import Unavailable
from microdose_server.url import server_url


@pytest.mark.parametrize("text", ["http://api:8710", "https://me:secret@origin/path", "http://[::1]:1"])
def test_what_is_one(text: str) -> None:
    assert str(server_url(text, "an API", "http://api:8710")) == text


@pytest.mark.parametrize(
    "text",
    [
        "",
        "origin:8710",
        "ftp://origin",
        "http://",
        "http://xn--\uff61",
        "http://xn--a",
        "http://o\n",
    ],
)
def test_what_is_none_is_named(text: str) -> None:
    with pytest.raises(Unavailable) as caught:
        server_url(text, "an API", "http://api:8710")
    assert str(caught.value) == f"{text!r} is not the URL of an API; give one like http://api:8710"
