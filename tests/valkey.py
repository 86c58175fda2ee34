"""A real Redis for tests; a conftest that wants it imports these fixtures.

MICRODOSE_TEST_REDIS chooses another than the embedded Valkey: `redis7` is the redis-server on the path, the
oldest we support being Debian's, `cluster` a Valkey that is a cluster by itself: it refuses whatever touches
keys of two slots at once.
"""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import redis

from microdose_server.evaluate.ports import free_port
from microdose_server.store.embedded import EmbeddedValkey, arguments, binary
from microdose_server.store.lock import poll
from microdose_server.store.redis import LOST, connect

KIND = os.environ.get("MICRODOSE_TEST_REDIS", "valkey")
START_S = 60.0
PASSWORD = "secret"


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a server that lives as long as the test session."""
    with KINDS[KIND](tmp_path_factory.mktemp("valkey")) as url:
        yield url


@pytest.fixture
def bus(redis_url: str) -> Iterator[redis.Redis]:
    """A client of it, which is empty at first and may block for 30 s."""
    with connect(redis_url, block_s=30) as client:
        client.flushall()
        yield client


@contextmanager
def _valkey(folder: Path) -> Iterator[str]:
    with EmbeddedValkey(folder) as valkey:
        yield valkey.url


@contextmanager
def _redis7(folder: Path) -> Iterator[str]:
    program = shutil.which("redis-server")
    if program is None:
        pytest.skip("redis-server is not installed: apt-get install redis-server")
    with _running([program], folder) as url:
        yield url


@contextmanager
def reachable(folder: Path, host: str) -> Iterator[str]:
    """A Valkey with a password at an address of this machine."""
    port = free_port(host)
    more = ["--bind", host, "--port", str(port), "--requirepass", PASSWORD]
    with _running([binary()], folder, *more, password=PASSWORD):
        yield f"redis://:{PASSWORD}@{host}:{port}"


@contextmanager
def cluster(folder: Path) -> Iterator[str]:
    """A cluster of one node."""
    ports = ["--port", str(free_port()), "--cluster-port", str(free_port())]
    more = ["--bind", "127.0.0.1", "--cluster-enabled", "yes", *ports]
    with _running([binary()], folder, *more) as url, connect(url) as client:
        client.execute_command("CLUSTER", "ADDSLOTSRANGE", "0", "16383")
        assert poll(lambda: _is_whole(client), START_S)
        yield url


@contextmanager
def _running(program: list[str], folder: Path, *more: str, password: str = "") -> Iterator[str]:
    """A server with the embedded one's own settings."""
    path = folder / "redis.sock"
    process = subprocess.Popen([*program, *arguments(folder, path), *more], stdout=subprocess.DEVNULL)
    url = f"unix://:{password}@{path}" if password else f"unix://{path}"
    try:
        with connect(url) as client:
            assert poll(lambda: process.poll() is not None or _answers(client), START_S)
        assert process.poll() is None, (folder / "valkey.log").read_text()
        yield url
    finally:
        process.terminate()
        process.wait()


@contextmanager
def refusing_writes(client: redis.Redis) -> Iterator[None]:
    """While it lasts, the server answers what reads and refuses what writes, as a full one does."""
    client.config_resetstat()
    client.config_set("min-replicas-to-write", 1)
    try:
        yield
    finally:
        client.config_set("min-replicas-to-write", 0)


def refused(client: redis.Redis, command: str) -> bool:
    """Whether the server has refused this command since it began to."""
    return bool(client.info("commandstats").get(f"cmdstat_{command}", {}).get("rejected_calls"))


def _is_whole(client: redis.Redis) -> bool:
    return b"cluster_state:ok" in client.execute_command("CLUSTER", "INFO")  # type: ignore[no-untyped-call]


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except LOST:
        return False


KINDS = {"valkey": _valkey, "redis7": _redis7, "cluster": cluster}
