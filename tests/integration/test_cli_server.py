"""The programs of `microdose-server`: started, spoken to, stopped and killed as an operator would."""

import http.client
import json
import os
import resource
import signal
import stat
import threading
from contextlib import suppress
from pathlib import Path
from urllib.parse import urlsplit

import httpx
import pytest
import redis

from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.lock import poll
from tests.programs import Program, Start, run
from tests.served import served_by

STREAMS = 100


def answers(url: str, key: str) -> int:
    return httpx.get(f"{url}/v1/sequences", headers={"Authorization": f"Bearer {key}"}).status_code


def children(pid: int) -> set[int]:
    """All processes below one."""
    direct = {int(p) for p in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()}
    return direct.union(*(children(child) for child in direct))


def is_alive(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def test_up_starts_everything_and_tells_where(start: Start, tmp_path: Path) -> None:
    data = tmp_path / "data"
    program = start("up", "--data-dir", str(data), "--port", "0")
    first, ready = program.said("key"), program.said("ready")
    assert answers(ready["url"], first["key"]) == 200
    assert ready["key_file"] == first["key_file"] == str(data / "key")
    assert (data / "key").read_text() == first["key"] + "\n"
    assert stat.S_IMODE((data / "key").stat().st_mode) == 0o600
    assert httpx.get(f"{ready['url']}/readyz").status_code == 200
    below = children(program.process.pid)
    assert len(below) >= 2  # Valkey and the worker
    assert program.end(signal.SIGTERM) == 0
    assert not any(map(is_alive, below))


def test_a_server_takes_as_many_connections_as_it_may(start: Start, redis_url: str, tmp_path: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 256), hard))
    try:
        program = start("serve", "--data-dir", str(tmp_path), "--redis", redis_url, "--port", "0")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    program.said("ready")
    assert resource.prlimit(program.process.pid, resource.RLIMIT_NOFILE) == (hard, hard)


def test_the_next_up_has_the_same_keys(start: Start, tmp_path: Path) -> None:
    arguments = ("up", "--data-dir", str(tmp_path), "--port", "0")
    program = start(*arguments)
    key = program.said("key")["key"]
    program.said("ready")
    assert program.end(signal.SIGINT) == 0
    assert answers(start(*arguments).said("ready")["url"], key) == 200


@pytest.mark.parametrize("victim", ["valkey-server", "microdose_server worker"])
def test_if_a_part_ends_all_end(start: Start, tmp_path: Path, victim: str) -> None:
    program = start("up", "--data-dir", str(tmp_path / "data"), "--port", "0")
    program.said("key")
    program.said("ready")
    below = children(program.process.pid)
    (pid,) = (child for child in below if victim.encode() in _command_line(child))
    os.kill(pid, signal.SIGKILL)
    assert program.process.wait(60) == 1
    assert "has ended by itself" in program.log.read_text().splitlines()[-1]
    assert poll(lambda: not any(map(is_alive, below)), 30)


def test_if_it_is_killed_all_end(start: Start, tmp_path: Path) -> None:
    program = start("up", "--data-dir", str(tmp_path / "data"), "--port", "0")
    program.said("key")
    program.said("ready")
    below = children(program.process.pid)
    program.end(signal.SIGKILL)
    assert poll(lambda: not any(map(is_alive, below)), 60)


def _command_line(pid: int) -> bytes:
    return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ")


def test_a_second_up_in_the_same_folder_is_refused(start: Start, tmp_path: Path) -> None:
    first = start("up", "--data-dir", str(tmp_path), "--port", "0")
    first.said("key")
    url = first.said("ready")["url"]
    done = run("up", "--data-dir", str(tmp_path), "--port", "0")
    assert done.returncode == 1
    assert "in use by another" in done.stderr
    assert httpx.get(f"{url}/readyz").status_code == 200


def test_up_uses_a_redis_that_is_there(
    start: Start, bus: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    program = start("up", "--data-dir", str(tmp_path), "--port", "0", REDIS_URL=redis_url)
    key = program.said("key")["key"]
    assert answers(program.said("ready")["url"], key) == 200
    assert ApiKeys(bus).verify(key)
    assert not (tmp_path / "redis").exists()


def test_forms_wait_on_the_disk_of_the_data(
    start: Start, bus: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    """Not in /tmp, which in a container may be memory."""
    _, key = ApiKeys(bus).create([Scope.PUBLISH])
    program = start("serve", "--data-dir", str(tmp_path), "--port", "0", REDIS_URL=redis_url)
    url = urlsplit(program.said("ready")["url"])
    connection = http.client.HTTPConnection(url.hostname or "", url.port, timeout=30)
    connection.putrequest("POST", "/v1/sequences:upload")
    connection.putheader("Authorization", f"Bearer {key}")
    connection.putheader("Content-Type", "multipart/form-data; boundary=b")
    connection.putheader("Content-Length", str(8 << 20))
    connection.endheaders()
    connection.send(b'--b\r\nContent-Disposition: form-data; name="files"; filename="a.png"\r\n\r\n')
    connection.send(bytes(4 << 20))

    def spooled() -> bool:
        open_files = Path(f"/proc/{program.process.pid}/fd")
        with suppress(FileNotFoundError):  # one that was closed just now
            return any(tmp_path / "spool" in path.readlink().parents for path in open_files.iterdir())
        return False

    assert poll(spooled, 60)
    connection.close()
    assert list((tmp_path / "spool").iterdir()) == []


def test_up_makes_no_key_where_there_are_some(
    start: Start, bus: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    ApiKeys(bus).create([Scope.VIEW])
    program = start("up", "--data-dir", str(tmp_path), "--port", "0", REDIS_URL=redis_url)
    assert program.said("ready")["key_file"] is None
    assert len(ApiKeys(bus).all()) == 1


def serve(start: Start, redis_url: str, tmp_path: Path) -> tuple[Program, str]:
    program = start("serve", "--redis", redis_url, "--data-dir", str(tmp_path / "data"), "--port", "0")
    return program, str(program.said("ready")["url"])


def test_open_streams_and_long_polls_do_not_hold_up_the_end(
    start: Start, bus: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    program, url = serve(start, redis_url, tmp_path)
    heard: list[list[str]] = []
    waited: list[int] = []
    with served_by(url, Settings(data_dir=tmp_path / "data", redis_url=redis_url), bus) as served:
        job = served.queued()
        many = httpx.Limits(max_connections=None)
        client = httpx.Client(base_url=url, headers=served.http.headers, timeout=60, limits=many)

        def listen() -> None:
            with client.stream("GET", f"/v1/sequences/{job.sequence}/events") as answer:
                heard.append(list(answer.iter_lines()))

        def wait() -> None:
            waited.append(client.get(f"/v1/jobs/{job.id}?wait=30").status_code)

        threads = [threading.Thread(target=work) for work in (*STREAMS * [listen], wait)]
        for thread in threads:
            thread.start()
        standing = f"microdose_listeners {STREAMS + 1}.0\n"
        assert poll(lambda: standing in httpx.get(f"{url}/metrics").text, 60)
        assert program.end(signal.SIGTERM) == 0
        for thread in threads:
            thread.join()
        client.close()
    assert len(heard) == STREAMS
    assert all("event: bye" in lines for lines in heard)
    assert waited == [200]
    assert "Application shutdown complete" in program.log.read_text()


def test_a_port_in_use_is_one_clear_line(
    start: Start, bus: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    _, url = serve(start, redis_url, tmp_path)
    port = url.rpartition(":")[2]
    done = run("serve", "--redis", redis_url, "--port", port)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith(
        f"microdose-server: cannot listen on 127.0.0.1 port {port}"
    )


@pytest.mark.parametrize("command", [("serve",), ("worker",), ("keys", "list"), ("up",)])
@pytest.mark.parametrize("url", ["redis://127.0.0.1:1", "nonsense://x", "redis://localhost?spin=1"])
def test_without_redis_it_is_one_clear_line(command: tuple[str, ...], url: str, tmp_path: Path) -> None:
    done = run(*command, "--redis", url, "--data-dir", str(tmp_path))
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "Redis" in line


@pytest.mark.parametrize(("command", "embedded"), [("up", True), ("up", False), ("serve", False)])
def test_a_data_folder_that_cannot_be_is_one_clear_line(
    command: str, embedded: bool, bus: redis.Redis, redis_url: str
) -> None:
    where = [] if embedded else ["--redis", redis_url]
    done = run(command, "--data-dir", "/dev/null/data", "--port", "0", *where)
    assert (done.returncode, done.stdout) == (1, "")
    (line,) = done.stderr.splitlines()
    assert "/dev/null/data" in line
    assert ApiKeys(bus).all() == []  # none that nobody was told


def test_without_an_embedded_valkey_running_there_is_no_redis(tmp_path: Path) -> None:
    done = run("serve", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "no Redis at" in done.stderr


@pytest.mark.parametrize(
    "arguments", [(), ("nonsense",), ("up", "--port", "x"), ("up", "--port", "99999"), ("keys", "create")]
)
def test_wrong_usage_is_exit_code_2(arguments: tuple[str, ...]) -> None:
    done = run(*arguments)
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr


@pytest.mark.parametrize("command", ["up", "keys"])
def test_help_has_an_example(command: str) -> None:
    done = run(command, "--help")
    assert done.returncode == 0
    assert "example:" in done.stdout


def test_a_worker_ends_with_an_empty_queue_or_when_told(
    start: Start, bus: redis.Redis, redis_url: str, tmp_path: Path
) -> None:
    assert run("worker", "--burst", "--redis", redis_url, "--data-dir", str(tmp_path)).returncode == 0
    worker = start("worker", "--redis", redis_url, "--data-dir", str(tmp_path))
    assert poll(lambda: bus.scard("rq:workers") == 1, 60)
    assert worker.end(signal.SIGTERM) == 0


def test_keys_are_made_listed_and_revoked(bus: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    common = ("--redis", redis_url, "--data-dir", str(tmp_path))
    made = run("keys", "create", "--scope", "publish", "--scope", "view", "--name", "camera", *common)
    key = ApiKeys(bus).verify(made.stdout.strip())
    assert key is not None
    assert (key.name, key.scopes) == ("camera", (Scope.PUBLISH, Scope.VIEW))
    listed = run("keys", "list", *common).stdout
    assert key.id in listed
    assert made.stdout.strip() not in listed
    facts = json.loads(run("keys", "list", "--json", *common).stdout)
    assert (facts["id"], facts["scopes"]) == (key.id, ["publish", "view"])
    assert run("keys", "revoke", key.id, *common).returncode == 0
    assert ApiKeys(bus).verify(made.stdout.strip()) is None
    again = run("keys", "revoke", key.id, *common)
    assert (again.returncode, again.stderr) == (1, f"microdose-server: no key {key.id}\n")
