"""`microdose-server check`, as a container's health check runs it."""

import json
from pathlib import Path

import redis

from microdose_server.check import check
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.lock import poll
from microdose_server.store.redis import text
from tests.programs import run
from tests.served import Served
from tests.workers import StartWorker


def findings(settings: Settings, role: str | None = None) -> dict[str, bool]:
    return {found.name: found.good for found in check(settings, role)}


def test_a_host_where_all_is_well(served: Served) -> None:
    found = findings(served.settings)
    assert (found["redis"], found["disk"], found["keys"]) == (True, True, True)
    assert "weights" in found  # which a fresh checkout may lack


def test_each_thing_that_is_missing_is_named(bus: redis.Redis, redis_url: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    settings = Settings(redis_url=redis_url, data_dir=tmp_path / "file")
    assert {name for name, good in findings(settings).items() if not good} >= {"disk", "keys"}
    ApiKeys(bus).create([Scope.VIEW])
    assert findings(settings)["keys"]


def test_a_redis_that_would_evict_jobs_is_bad(served: Served) -> None:
    served.bus.config_set("maxmemory-policy", "allkeys-lru")
    try:
        (told,) = (found for found in check(served.settings) if found.name == "redis")
    finally:
        served.bus.config_set("maxmemory-policy", "noeviction")
    assert not told.good
    assert "noeviction" in told.seen


def test_the_api_of_this_host(served: Served) -> None:
    host, port = served.url.removeprefix("http://").split(":")
    arguments = ["--redis", str(served.settings.redis_url), "--data-dir", str(served.settings.data_dir)]
    done = run("check", "--for", "api", "--host", host, "--port", port, "--json", *arguments)
    assert done.returncode == 0, done.stdout
    assert [json.loads(line)["name"] for line in done.stdout.splitlines()] == ["redis", "disk", "api"]
    gone = run("check", "--for", "api", "--port", "1", *arguments)
    assert gone.returncode == 1
    assert "BAD  api" in gone.stdout


def test_the_worker_of_this_host(
    bus: redis.Redis, redis_url: str, start_worker: StartWorker, tmp_path: Path
) -> None:
    settings = Settings(redis_url=redis_url, data_dir=tmp_path)
    assert not findings(settings, "worker")["worker"]
    start_worker(redis_url)
    assert poll(lambda: findings(settings, "worker")["worker"], 60)


def test_without_redis_it_says_so_and_ends(tmp_path: Path) -> None:
    done = run("check", "--redis", "redis://127.0.0.1:1", "--data-dir", str(tmp_path))
    assert done.returncode == 1
    assert "BAD  redis    no Redis at 127.0.0.1:1" in done.stdout


def test_a_viewer_is_made_by_command(bus: redis.Redis, redis_url: str) -> None:
    made = json.loads(run("keys", "viewer", "tv", "--redis", redis_url, "--json").stdout)
    assert made["user"] in map(text, bus.acl_users())
    assert run("keys", "viewer", "tv", "--revoke", "--redis", redis_url).returncode == 0
    assert made["user"] not in map(text, bus.acl_users())
