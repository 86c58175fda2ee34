"""A relay answers as its upstream does, and asks it once."""

from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack

import httpx
import pytest

from microdose.manifest import Manifest
from microdose_server.settings import Limits
from microdose_server.store.apikeys import Scope
from microdose_server.store.blobs import public_blobs
from microdose_server.store.lock import poll
from tests.broadcast import Broadcast
from tests.listening import listening, take
from tests.relays import Relayed, Relays, metric, published, relay, relay_of
from tests.served import Served, events_path, manifest_path, problem, unknown

__all__ = ["published", "relay", "relay_of"]

VIEWERS = 100
DATA = bytes(range(256)) * 1000
COMPARED = (
    "accept-ranges",
    "cache-control",
    "content-length",
    "content-range",
    "content-type",
    "etag",
    "repr-digest",
    "x-content-type-options",
)


def same(served: Served, relay: Relayed, path: str, method: str = "GET", **headers: str) -> httpx.Response:
    """What the relay answers, which must be what its upstream does."""
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    there, here = (each.http.request(method, path, headers=names) for each in (served, relay))
    assert here.status_code == there.status_code, here.text
    for name in COMPARED:
        assert here.headers.get(name) == there.headers.get(name), name
    if here.content and here.headers.get("content-type") == "application/problem+json":
        here_says, there_says = here.json(), there.json()
        assert here_says.pop("request_id") != there_says.pop("request_id")
        assert here_says == there_says
    else:
        assert here.content == there.content
    return here


@pytest.mark.parametrize(
    ("query", "status"), [("", 200), ("?since=0", 200), ("?since=1", 304), ("?since=-1", 422)]
)
def test_manifests(served: Served, relay: Relayed, published: Manifest, query: str, status: int) -> None:
    path = manifest_path(published.sequence) + query
    answer = same(served, relay, path)
    assert answer.status_code == status
    if status == 200:
        etag = answer.headers["etag"]
        assert same(served, relay, path, if_none_match=etag).status_code == 304
        assert same(served, relay, path, if_none_match='"another"').status_code == 200


@pytest.mark.parametrize("resource", ["manifest", "events"])
def test_what_is_not_there_or_no_more(served: Served, relay: Relayed, resource: str) -> None:
    for name in (unknown(), "x"):
        assert same(served, relay, f"/v1/sequences/{name}/{resource}").status_code == 404
    problem(relay.http.get(f"/v1/sequences/..%2F../{resource}"), "not-found")
    job = served.queued()
    if resource == "manifest":
        assert same(served, relay, manifest_path(job.sequence)).status_code == 404
    other = served.queued()
    served.publish(other)
    served.http.delete(f"/v1/sequences/{other.sequence}")
    assert same(served, relay, f"/v1/sequences/{other.sequence}/{resource}").status_code == 410


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize(
    ("wanted", "status"),
    [("", 200), ("bytes=10-19", 206), ("bytes=-7", 206), ("bytes=256000-", 416), ("lines=1-2", 200)],
)
def test_blobs(served: Served, relay: Relayed, method: str, wanted: str, status: int) -> None:
    path = f"/v1/blobs/{public_blobs(served.settings.data_dir).put(DATA)}"
    headers = {"range": wanted} if wanted else {}
    for expected in ("MISS", "HIT"):
        answer = same(served, relay, path, method, **headers)
        assert answer.status_code == status
        assert answer.headers.get("x-cache") == (expected if status < 400 else None)
    etag = answer.headers.get("etag", '"x"')
    assert same(served, relay, path, if_none_match=etag).status_code in (200, 304)


def test_blobs_that_are_not_there(served: Served, relay: Relayed) -> None:
    for name in ("nonsense", "sha256:12", "..%2F..%2Fkey"):
        problem(relay.http.get(f"/v1/blobs/{name}"), "not-found")
    same(served, relay, f"/v1/blobs/sha256:{64 * '0'}")


def test_bases(served: Served, relay: Relayed) -> None:
    assert same(served, relay, "/v1/bases").json() == []


def test_only_who_may_read_there_may_read_here(served: Served, relay: Relayed, published: Manifest) -> None:
    blob = f"/v1/blobs/{published.segments[0].blob.digest}"
    reading = (manifest_path(published.sequence), events_path(published.sequence), "/v1/bases")
    worker, wrong = served.key(Scope.WORKER), {"Authorization": f"Bearer md_{12 * 'a'}_{43 * 'b'}"}
    for path in (*reading, blob, "/v1/key"):
        problem(httpx.get(relay.url + path), "unauthorized")
        problem(httpx.get(relay.url + path, headers={"Authorization": "Bearer x"}), "unauthorized")
        problem(httpx.get(relay.url + path, headers=wrong), "unauthorized")
        there, here = (httpx.get(url + path, headers=worker) for url in (served.url, relay.url))
        assert here.status_code == there.status_code == (403 if path in reading else 200)
    publisher = served.key(Scope.PUBLISH)
    assert httpx.get(relay.url + "/v1/key", headers=publisher).json()["scopes"] == ["publish"]
    assert metric(relay.url, "microdose_fetched_blobs_total") == 1


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
@pytest.mark.parametrize(
    "path", ["sequences", "sequences:upload", f"sequences/{unknown()}", "blobs/x", "jobs"]
)
def test_publishers_are_sent_to_the_upstream(relay: Relayed, method: str, path: str) -> None:
    answer = relay.http.request(method, f"/v1/{path}")
    assert "publish there" in str(problem(answer, "method-not-allowed").detail)
    assert answer.headers["allow"] == "GET, HEAD"


def test_who_waits_for_a_manifest_gets_it_at_once(served: Served, relay: Relayed) -> None:
    job = served.queued()
    path = f"{manifest_path(job.sequence)}?wait=30"
    with ThreadPoolExecutor() as pool:
        waiting = pool.submit(relay.http.get, path)
        assert poll(lambda: relay.metric("microdose_listeners") == 1, 60)
        manifest = served.publish(job)
        assert waiting.result().content == manifest.to_bytes()
    since = f"{manifest_path(job.sequence)}?wait=0.01&since={manifest.version}"
    assert relay.http.get(since).status_code == 304


def test_many_viewers_cost_the_upstream_one(served: Served, relay: Relayed, live: Broadcast) -> None:
    many = httpx.Limits(max_connections=None)
    heard: list[list[str | None]] = []
    with httpx.Client(
        base_url=relay.url, headers=relay.http.headers, timeout=60, limits=many
    ) as client, ExitStack() as stack:  # fmt: skip
        crowd = Relayed(relay.url, client, relay.data)
        streams = [
            stack.enter_context(listening(crowd, events_path(live.sequence), "2-0")) for _ in range(VIEWERS)
        ]
        assert relay.metric("microdose_listeners") == VIEWERS
        assert relay.metric("microdose_followed") == 1
        assert poll(lambda: metric(served.url, "microdose_listeners") == 1, 60)  # once others have left
        entry = live.picture()
        for events in streams:
            heard.append([event.id for event in take(events, 1)])
        with ThreadPoolExecutor(VIEWERS) as pool:
            paths = VIEWERS * [f"/v1/blobs/{entry.blob.digest}"]
            answers = list(pool.map(client.get, paths))
    assert heard == VIEWERS * [["3-0"]]
    assert {answer.content for answer in answers} == {live.segments[entry.n]}
    assert relay.metric("microdose_fetched_blobs_total") == 1
    assert relay.metric("microdose_fetched_bytes_total") == entry.blob.size


def test_a_key_may_have_so_many_streams(relay_of: Relays, served: Served, live: Broadcast) -> None:
    relay = relay_of(served.url, Limits(max_streams=1))
    with listening(relay, events_path(live.sequence)):
        problem(relay.http.get(events_path(live.sequence)), "too-many-requests")


def test_a_relay_follows_so_many_sequences(relay_of: Relays, served: Served, live: Broadcast) -> None:
    relay, other = relay_of(served.url, Limits(max_followed=1)), served.queued()
    with listening(relay, events_path(live.sequence)):
        answer = relay.http.get(events_path(other.sequence))
        assert "follows 1 sequences" in str(problem(answer, "unavailable").detail)
    assert poll(lambda: relay.metric("microdose_listeners") == 0, 60)
    with listening(relay, events_path(other.sequence)):
        pass


def test_a_relay_may_be_the_upstream_of_another(
    relay_of: Relays, served: Served, relay: Relayed, live: Broadcast
) -> None:
    second = relay_of(relay.url)
    same(served, second, manifest_path(live.sequence))
    same(served, second, f"/v1/blobs/{live.manifest.base.digest}")
    with listening(second, events_path(live.sequence), "2-0") as events:
        live.picture()
        assert next(events).id == "3-0"


def test_it_tells_how_it_is(served: Served, relay: Relayed, live: Broadcast) -> None:
    assert httpx.get(f"{relay.url}/livez").json() == {"status": "ok"}
    assert httpx.get(f"{relay.url}/readyz").json() == {"upstream": "ok", "blobs": "ok", "open": "ok"}
    relay.http.get(f"/v1/blobs/{live.manifest.base.digest}")
    assert relay.metric("microdose_cache_blobs") == 1
    assert relay.metric("microdose_cache_bytes") == live.manifest.base.size
    assert relay.metric("microdose_upstream_silence_seconds") < 60
    text = httpx.get(f"{relay.url}/metrics").text
    assert 'microdose_requests_total{method="GET",operation="blobs-read",status="2xx"} 1.0' in text
