"""The URL of another server of ours, as an operator gave it."""

from contextlib import suppress

import httpx

from microdose.address import is_server
from microdose.errors import Unavailable


def server_url(text: str, whose: str, example: str) -> httpx.URL:
    """The URL in `text`. Raises Unavailable, which names `whose` it should be, for what is none."""
    with suppress(httpx.InvalidURL, UnicodeError):  # the latter of a host that begins like an encoded one
        url = httpx.URL(text)
        if is_server(url.scheme, url.host):
            return url
    raise Unavailable(f"{text!r} is not the URL of {whose}; give one like {example}")
