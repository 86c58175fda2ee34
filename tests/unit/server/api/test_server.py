"""The socket that the API listens on."""

import socket

import pytest

from microdose.errors import Unavailable
from microdose_server.api.server import listen


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_what_is_written_to_a_viewer_is_sent_at_once(host: str) -> None:
    try:
        listener = listen(host, 0)
    except Unavailable:
        pytest.skip(f"{host} is not of this machine")
    with listener, socket.create_connection(listener.getsockname()[:2]):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_an_address_in_use_is_named() -> None:
    with listen("127.0.0.1", 0) as listener:
        port = listener.getsockname()[1]
        with pytest.raises(Unavailable, match=f"cannot listen on 127.0.0.1 port {port}"):
            listen("127.0.0.1", port)
