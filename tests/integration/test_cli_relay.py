"""`microdose-server relay` as a program: started, asked, stopped, and what keeps it from starting."""

import json
import signal
import threading
from pathlib import Path

import httpx
import pytest

from microdose_server.store.apikeys import Scope
from microdose_server.store.lock import poll
from tests.broadcast import Broadcast
from tests.listening import Sent, listening
from tests.programs import Program, Start, run
from tests.relays import Relayed, metric
from tests.served import Served

STREAMS = 100


def begin(start: Start, served: Served, data: Path, *more: str) -> tuple[Program, str]:
    program = start(
        *("relay", "--upstream", served.url, "--data-dir", str(data), "--port", "0", *more),
        MICRODOSE_KEY=served.token(Scope.VIEW),
    )
    return program, str(program.said("ready")["url"])


def test_open_streams_and_long_polls_do_not_hold_up_its_end(
    start: Start, served: Served, live: Broadcast, tmp_path: Path
) -> None:
    program, url = begin(start, served, tmp_path / "data")
    heard: list[list[Sent]] = []
    waited: list[int] = []
    many = httpx.Limits(max_connections=None)
    with httpx.Client(base_url=url, headers=served.key(Scope.VIEW), timeout=60, limits=many) as client:
        relay = Relayed(url, client, tmp_path)
        path = f"/v1/sequences/{live.sequence}"

        def listen() -> None:
            with listening(relay, f"{path}/events", "1-0") as events:
                heard.append(list(events))

        def wait() -> None:
            waited.append(client.get(f"{path}/manifest?wait=30&since={live.manifest.version}").status_code)

        threads = [threading.Thread(target=work) for work in (*STREAMS * [listen], wait)]
        for thread in threads:
            thread.start()
        assert poll(lambda: metric(url, "microdose_listeners") == STREAMS + 1, 60)
        assert program.end(signal.SIGTERM) == 0
        for thread in threads:
            thread.join()
    assert [[event.name for event in events] for events in heard] == STREAMS * [["segment", "bye"]]
    assert waited == [304]
    assert "Application shutdown complete" in program.log.read_text()


def test_the_next_one_has_what_the_last_one_fetched(
    start: Start, served: Served, live: Broadcast, tmp_path: Path
) -> None:
    blob = f"/v1/blobs/{live.manifest.base.digest}"
    for expected in ("MISS", "HIT"):
        program, url = begin(start, served, tmp_path / "data")
        answer = httpx.get(url + blob, headers=served.key(Scope.VIEW))
        assert (answer.status_code, answer.headers["x-cache"]) == (200, expected)
        assert program.end(signal.SIGINT) == 0


def test_a_container_can_ask_how_it_is(start: Start, served: Served, tmp_path: Path) -> None:
    _, url = begin(start, served, tmp_path)
    done = run("check", "--for", "relay", "--port", url.rpartition(":")[2], "--json")
    (found,) = map(json.loads, done.stdout.splitlines())
    assert (done.returncode, found["name"], found["good"]) == (0, "relay", True)
    done = run("check", "--for", "relay", "--port", "1")
    assert (done.returncode, done.stdout[:10]) == (1, "BAD  relay")


def test_a_key_that_may_do_more_is_remarked_on(start: Start, served: Served, tmp_path: Path) -> None:
    arguments = ("relay", "--upstream", served.url, "--data-dir", str(tmp_path), "--port", "0")
    program = start(*arguments, MICRODOSE_KEY=served.token(Scope.ADMIN))
    program.said("ready")
    assert "may do more than view" in program.log.read_text()


def test_two_do_not_share_a_folder(start: Start, served: Served, tmp_path: Path) -> None:
    begin(start, served, tmp_path)
    where = ("--upstream", served.url, "--data-dir", str(tmp_path), "--port", "0")
    done = run("relay", *where, MICRODOSE_KEY=served.token(Scope.VIEW))
    assert done.returncode == 1
    assert "in use by another" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("upstream", "key", "words"),
    [
        (None, "md_k", "give --upstream URL"),
        ("", "md_k", "give --upstream URL"),
        ("origin:8710", "md_k", "is not the URL of an upstream"),
        ("http://127.0.0.1:1", "md_k", "the upstream does not answer"),
        ("API", "", "MICRODOSE_KEY"),
        ("API", "md_wrong", "does not take the key of this relay"),
        ("API/elsewhere", "md_k", "no route '/elsewhere/v1/key'"),
    ],
)
def test_what_keeps_it_from_starting_is_one_clear_line(
    served: Served, tmp_path: Path, upstream: str | None, key: str, words: str
) -> None:
    where = [] if upstream is None else ["--upstream", upstream.replace("API", served.url)]
    done = run("relay", *where, "--data-dir", str(tmp_path), "--log-level", "error", MICRODOSE_KEY=key)
    assert (done.returncode, done.stdout) == (1, "")
    assert words in done.stderr.splitlines()[-1]
    assert done.stderr.splitlines()[-1].startswith("microdose-server: ")
    assert "Traceback" not in done.stderr


def test_a_cache_that_holds_no_blob_is_wrong_usage() -> None:
    done = run("relay", "--upstream", "http://origin", "--cache-bytes", "1000")
    assert (done.returncode, done.stdout) == (2, "")
    assert "cache_bytes" in done.stderr


def test_help_has_an_example() -> None:
    done = run("relay", "--help")
    assert done.returncode == 0
    assert "example: MICRODOSE_KEY=" in done.stdout
    assert "--redis" not in done.stdout
