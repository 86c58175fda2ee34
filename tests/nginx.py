"""The nginx of docker/nginx.conf as a process, with nothing changed but addresses and folders."""

import contextlib
import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from microdose_server.store.lock import poll

DOCKER = Path(__file__).parents[1] / "docker"
START_S = 60.0


def nginx() -> str:
    """The path of the program; the test is skipped where there is none."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if found is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    return found


def free_port() -> int:
    """A port of 127.0.0.1 that nobody listens on just now."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        return int(probe.getsockname()[1])


def write_config(folder: Path, upstream: str, port: int, tls: tuple[int, Path, Path] | None = None) -> Path:
    """The configuration for this machine; tls: its port, certificate and key."""
    user = "user root;\n" if os.getuid() == 0 else ""
    changes = {
        "/tmp/": f"{folder}/",
        "/var/cache/nginx/": f"{folder}/",
        "/etc/nginx/tls*.conf": f"{folder}/tls*.conf",
        "server api:8710;": f"server {upstream};",
        "listen 8080;": f"listen 127.0.0.1:{port};",
        "        listen [::]:8080;\n": "",
        "worker_processes auto;": f"worker_processes 1;\n{user}daemon off;",
    }
    if tls is not None:
        secure_port, certificate, key = tls
        secure = {
            "listen 8443": f"listen 127.0.0.1:{secure_port}",
            "listen [::]:8443 ssl http2;\n": "",
            "/run/secrets/tls_certificate": str(certificate),
            "/run/secrets/tls_key": str(key),
        }
        (folder / "tls.conf").write_text(_replaced("tls.conf", secure))
    path = folder / "nginx.conf"
    path.write_text(_replaced("nginx.conf", changes))
    return path


def _replaced(name: str, changes: dict[str, str]) -> str:
    text = (DOCKER / name).read_text()
    for old, new in changes.items():
        assert old in text
        text = text.replace(old, new)
    return text


@contextmanager
def front(folder: Path, api: str, tls: tuple[int, Path, Path] | None = None) -> Iterator[str]:
    """Run it before the API at the URL `api`; yields its own URL."""
    program, port = nginx(), free_port()
    config = write_config(folder, urlsplit(api).netloc, port, tls)
    command = [program, "-e", str(folder / "error.log"), "-c", str(config)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    try:
        assert poll(lambda: process.poll() is not None or _listens(port), START_S)
        assert process.poll() is None, process.stderr.read() if process.stderr else ""
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.communicate()


def _listens(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False
