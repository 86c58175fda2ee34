"""Ports to listen on, for servers that have to be told one before they start."""

import secrets
import socket
from contextlib import closing

FIRST, LAST = 20_000, 32_000
"""Linux gives connections and those who ask for any port one above: nobody gets these meanwhile."""


def free_port(host: str = "127.0.0.1") -> int:
    """A port of this machine that nobody listens on just now, and that none is given by chance."""
    while True:
        port = FIRST + secrets.randbelow(LAST - FIRST)
        try:
            with closing(socket.create_server((host, port))):
                return port
        except OSError:
            continue
