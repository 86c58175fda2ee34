"""nginx as a process: that of docker/nginx.conf, with nothing changed but addresses and folders, or a plain
one, which is what the product is measured against.
"""

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from microdose.errors import Unavailable
from microdose_server.evaluate.ports import free_port
from microdose_server.store.lock import poll

START_S = 60.0
PLACES = ("/usr/sbin",)
"""Where it may be that is not on a user's path."""
PLAIN = """
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 8192; }}
http {{
    access_log off;
    sendfile on;
    tcp_nopush on;
    keepalive_requests 1000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{ listen 127.0.0.1:{port}; root {root}; }}
}}
"""


class Tls(NamedTuple):
    """Where HTTPS ends."""

    port: int
    certificate: Path
    key: Path


def nginx() -> str:
    """The path of the program. Raises Unavailable where there is none."""
    for place in (None, *PLACES):
        if found := shutil.which("nginx", path=place):
            return found
    raise Unavailable("nginx is not installed: apt-get install nginx-light")


class Behind(NamedTuple):
    """What nginx stands before: the URL of an API, and the folder of the blobs that they share."""

    api: str
    blobs: Path


def write_config(docker: Path, folder: Path, behind: Behind, port: int, tls: Tls | None = None) -> Path:
    """docker/nginx.conf of the folder `docker` for this machine, and docker/tls.conf if wanted."""
    changes = {
        "/tmp/": f"{folder}/",
        "root /blobs/": f"root {behind.blobs}/",
        "/etc/nginx/tls*.conf": f"{folder}/tls*.conf",
        "server api:8710;": f"server {urlsplit(behind.api).netloc};",
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "        listen [::]:8080;\n": "",
        "worker_processes auto;": f"worker_processes 1;\n{_user()}daemon off;",
    }
    if tls is not None:
        secure = {
            "listen 8443": f"listen 127.0.0.1:{tls.port}",
            "listen [::]:8443 ssl http2;\n": "",
            "/run/secrets/tls_certificate": str(tls.certificate),
            "/run/secrets/tls_key": str(tls.key),
        }
        (folder / "tls.conf").write_text(_replaced(docker / "tls.conf", secure))
    path = folder / "nginx.conf"
    path.write_text(_replaced(docker / "nginx.conf", changes))
    return path


@contextmanager
def front(docker: Path, folder: Path, behind: Behind, tls: Tls | None = None) -> Iterator[str]:
    """The product's own nginx, with what it keeps in `folder`; yields its URL. Raises Unavailable."""
    port = free_port()
    with _running(write_config(docker, folder, behind, port, tls), port) as url:
        yield url


@contextmanager
def plain(folder: Path, root: Path) -> Iterator[str]:
    """An nginx that does nothing but send the files below `root` to anybody. Raises Unavailable."""
    port, path = free_port(), folder / "plain.conf"
    path.write_text(_user() + PLAIN.format(folder=folder, port=port, root=root))
    with _running(path, port) as url:
        yield url


def _user() -> str:
    return "user root;\n" if os.getuid() == 0 else ""


def _replaced(file: Path, changes: Mapping[str, str]) -> str:
    text = file.read_text()
    for old, new in changes.items():
        assert old in text, old
        text = text.replace(old, new)
    return text


@contextmanager
def _running(config: Path, port: int) -> Iterator[str]:
    command = [nginx(), "-e", str(config.parent / "error.log"), "-c", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        poll(lambda: process.poll() is not None or _listens(port), START_S)
        if process.poll() is not None:
            raise Unavailable(f"nginx did not start: {process.stderr.read() if process.stderr else ''}")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def _listens(port: int) -> bool:
    with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
