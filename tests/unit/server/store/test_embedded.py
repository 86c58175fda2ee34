import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest
import redis

from microdose.errors import Unavailable
from microdose_server.settings import Settings
from microdose_server.store.embedded import EmbeddedValkey, arguments, redis_url, socket_path, socket_url
from microdose_server.store.lock import poll
from microdose_server.store.redis import connect

OWNER = """
import pathlib, sys
from microdose_server.store.embedded import EmbeddedValkey

valkey = EmbeddedValkey(pathlib.Path(sys.argv[1]))
valkey.start()
print(valkey.pid, flush=True)
sys.stdin.read()
"""


def runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_it_answers_on_its_socket_and_ends_with_its_context(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey, connect(socket_url(tmp_path)) as client:
        assert client.ping()
        assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
        assert client.config_get("port") == {"port": "0"}
        assert socket_path(tmp_path).stat().st_mode & 0o777 == 0o700
        pid = valkey.pid
    assert pid is not None
    assert not runs(pid)
    with connect(valkey.url) as client, pytest.raises(redis.ConnectionError):
        client.ping()


@pytest.mark.parametrize("end", [signal.SIGTERM, signal.SIGKILL])
def test_data_outlives_the_process(tmp_path: Path, end: signal.Signals) -> None:
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url) as client:
        client.xadd("stream", {"event": b"\x00\xff"}, id="1-0")
        assert valkey.pid is not None
        os.kill(valkey.pid, end)
        assert poll(lambda: not runs(valkey.pid or 0), 60)
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url) as client:
        assert client.xrange("stream") == [(b"1-0", {b"event": b"\x00\xff"})]


def test_it_ends_when_its_owner_is_killed_and_another_may_go_on(tmp_path: Path) -> None:
    command = [sys.executable, "-c", OWNER, str(tmp_path)]
    environ = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=environ) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        with connect(socket_url(tmp_path)) as client:
            client.set("key", "value")
        owner.kill()
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url) as client:
        assert not runs(pid)
        assert client.get("key") == b"value"


def test_one_folder_has_one_server(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as first, connect(first.url) as client:
        with pytest.raises(Unavailable, match=rf"process {os.getpid()}.*MICRODOSE_DATA_DIR"):
            EmbeddedValkey(tmp_path).start()
        assert client.ping()
    with EmbeddedValkey(tmp_path):
        pass


def test_damaged_data_are_named_and_not_thrown_away(tmp_path: Path) -> None:
    with EmbeddedValkey(tmp_path) as valkey, connect(valkey.url) as client:
        client.set("key", "value")
    log = next((tmp_path / "redis" / "appendonlydir").glob("*.incr.aof"))
    log.write_bytes(b"*rubbish\r\n" + log.read_bytes())
    with pytest.raises(Unavailable, match=r"did not start: .*Bad file format"):
        EmbeddedValkey(tmp_path).start()
    assert b"value" in log.read_bytes()


def test_a_deep_folder_gets_a_short_private_socket(tmp_path: Path) -> None:
    deep = tmp_path.joinpath(*["deeper"] * 20)
    with EmbeddedValkey(deep) as valkey, connect(valkey.url) as client:
        assert client.ping()
        assert socket_path(deep).parent.stat().st_mode & 0o777 == 0o700
        assert len(os.fsencode(socket_path(deep))) <= 107
    assert socket_path(deep) != socket_path(deep / "other")


def test_the_named_redis_comes_before_the_embedded_one(tmp_path: Path) -> None:
    named = Settings(data_dir=tmp_path, redis_url="redis://elsewhere")
    assert redis_url(named) == "redis://elsewhere"
    assert redis_url(named.model_copy(update={"redis_url": None})) == socket_url(tmp_path)


def test_every_write_is_kept_and_none_is_evicted(tmp_path: Path) -> None:
    words = arguments(tmp_path, tmp_path / "socket")
    options = dict(zip(words[::2], words[1::2], strict=True))
    assert options["--appendonly"] == "yes"
    assert options["--appendfsync"] == "always"
    assert options["--maxmemory-policy"] == "noeviction"
