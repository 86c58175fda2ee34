"""The client's own rules: seams, ownership, what needs a server."""

import json
from collections.abc import Iterable
from pathlib import Path

import httpx
import pytest
import redis

from microdose.errors import Unavailable
from microdose.ids import new_id
from microdose.resources import Job, JobState
from microdose_client import Client, Step
from tests.loopback import Loopback, Reply, Request, json_reply


def job(number: int, **changes: object) -> dict[str, object]:
    fields = {
        "id": f"{number:026d}",
        "sequence": new_id(),
        "state": "queued",
        "created": "2026-01-01T00:00:00Z",
    }
    return fields | changes


def test_the_transport_is_a_seam() -> None:
    def app(environ: dict[str, object], start_response: object) -> Iterable[bytes]:
        assert callable(start_response)
        start_response("200 OK", [("Content-Type", "application/json")])
        return [json.dumps({"items": [job(1)]}).encode()]

    transport = httpx.WSGITransport(app)
    with Client("http://inside", transport=transport) as client:
        assert [job.id for job in client.jobs()] == [f"{1:026d}"]


def test_a_redis_that_was_given_stays_open() -> None:
    with redis.Redis(host="127.0.0.1", port=1) as mine:
        pool = mine.connection_pool
        with Client(redis=mine):
            pass
        assert mine.connection_pool is pool


def test_publishing_needs_a_server() -> None:
    with Client(redis="redis://127.0.0.1:1") as client, pytest.raises(Unavailable, match="give a server URL"):
        client.job(new_id())


def test_a_redis_url_that_is_none_keeps_its_password() -> None:
    with pytest.raises(Unavailable, match="not a Redis URL") as caught:
        Client(redis="redis://:se/cret@host")
    assert "cret" not in str(caught.value)


def test_lists_are_read_page_by_page() -> None:
    def answer(request: Request) -> Reply:
        if "cursor=two" in request.path:
            return json_reply({"items": [job(1)], "next": None})
        return json_reply({"items": [job(3), job(2)], "next": "two"})

    with Loopback(answer) as server, Client(server.url) as client:
        assert [int(found.id) for found in client.jobs()] == [3, 2, 1]
    assert [request.path for request in server.requests] == [
        "/v1/jobs?limit=100",
        "/v1/jobs?limit=100&cursor=two",
    ]


def test_waiting_reports_every_step_until_the_end(tmp_path: Path) -> None:
    states = [
        job(1),
        job(1, state="running", phase="distil", step=3, steps=10, loss=0.25, eta_s=7.4),
        job(1, state="succeeded", phase="publish", step=5, steps=5),
    ]
    steps: list[Step] = []
    with (
        Loopback(lambda request: json_reply(states.pop(0))) as server,
        Client(server.url, cache_dir=tmp_path) as client,
    ):
        done: Job = client.wait(f"{1:026d}", progress=steps.append)
    assert done.state is JobState.SUCCEEDED
    assert steps == [
        Step("queued", 0, 0),
        Step("distil", 3, 10, "loss 0.25, 7 s left"),
        Step("publish", 5, 5),
    ]
