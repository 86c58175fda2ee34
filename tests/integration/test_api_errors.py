"""Every refusal is problem+json, whoever refuses: the router, the body parser, the key check, the store."""

import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path

import httpx
import pytest

from microdose.problem import PROBLEMS
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKey, ApiKeys, Scope
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.lock import poll
from microdose_server.store.redis import connect
from tests.live import live_api
from tests.served import Serve, Served, problem, served_by, unknown


@pytest.mark.parametrize("path", ["/", "/v1", "/v1/nothing", "/v2/sequences", "/docs", "/v1/sequences/a/b/c"])
def test_no_such_route(served: Served, path: str) -> None:
    problem(served.http.get(path), "not-found")


@pytest.mark.parametrize(
    ("method", "path"), [("PUT", "/v1/sequences"), ("POST", "/livez"), ("PATCH", f"/v1/jobs/{unknown()}")]
)
def test_a_method_that_is_not_allowed(served: Served, method: str, path: str) -> None:
    answer = served.http.request(method, path)
    problem(answer, "method-not-allowed")
    assert answer.headers["allow"]


def test_all_methods_of_a_path_are_named(served: Served) -> None:
    assert served.http.put("/v1/sequences").headers["allow"] == "GET, POST"
    assert served.http.post(f"/v1/sequences/{unknown()}").headers["allow"] == "DELETE, GET"


@pytest.mark.parametrize(
    ("body", "pointer"),
    [
        (b"{", "/1"),
        (b'{"dose": "huge"}', "/dose"),
        (b'{"lmbda": 0}', "/lmbda"),
        (b'{"lmbda": NaN}', "/lmbda"),
        (b'{"refine": 0}', "/refine"),
        (b'{"refine": 12, "live": true}', ""),
        (b'{"spin/~": 1}', "/spin~1~0"),
        (b"[1]", ""),
        (b'{"name": "%s"}' % (b"x" * 201), "/name"),
    ],
)
def test_a_wrong_body_is_pointed_at(served: Served, body: bytes, pointer: str) -> None:
    answer = served.http.post("/v1/sequences", content=body, headers={"Content-Type": "application/json"})
    found = problem(answer, "invalid-request")
    assert found.errors[0].pointer == pointer


@pytest.mark.parametrize(
    ("query", "pointer"),
    [("limit=0", "limit"), ("limit=x", "limit"), ("limit=9999", "limit"), ("cursor=..", "cursor")],
)
def test_a_wrong_parameter_is_named(served: Served, query: str, pointer: str) -> None:
    assert problem(served.http.get(f"/v1/sequences?{query}"), "invalid-request").errors[0].pointer == pointer


def test_a_body_of_another_type(served: Served) -> None:
    problem(served.http.post("/v1/sequences", data={"name": "x"}), "unsupported-media-type")


def chunks(size: int) -> Iterator[bytes]:
    for _ in range(size // 1000):
        yield bytes(1000)


@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_too_large(serve: Serve, chunked: bool) -> None:
    served = serve(max_picture_bytes=5000)
    content = chunks(400_000) if chunked else bytes(400_000)
    sequence = served.create()
    found = problem(served.http.put(f"/v1/sequences/{sequence}/frames/0", content=content), "too-large")
    assert "5000" in str(found.detail)
    headers = {"Content-Type": "application/json"}
    content = chunks(70_000) if chunked else bytes(70_000)
    problem(served.http.post("/v1/sequences", content=content, headers=headers), "too-large")
    assert served.originals() == []
    assert served.put(served.create(), 0, b"x").status_code == 422  # and the server goes on


def test_a_form_that_is_too_large(serve: Serve) -> None:
    served = serve(max_upload_bytes=1000)
    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    head = b'--x\r\nContent-Disposition: form-data; name="files"; filename="a"\r\n\r\n'
    for content in (head + bytes(6_000_000), chain([head], chunks(6_000_000))):
        problem(served.http.post("/v1/sequences:upload", content=content, headers=headers), "too-large")


CALLS = [
    ("POST", "/v1/sequences", Scope.PUBLISH),
    ("GET", "/v1/sequences", Scope.VIEW),
    ("GET", f"/v1/sequences/{unknown()}", Scope.VIEW),
    ("DELETE", f"/v1/sequences/{unknown()}", Scope.PUBLISH),
    ("POST", f"/v1/sequences/{unknown()}/complete", Scope.PUBLISH),
    ("GET", f"/v1/sequences/{unknown()}/frames", Scope.VIEW),
    ("PUT", f"/v1/sequences/{unknown()}/frames/0", Scope.PUBLISH),
    ("POST", "/v1/sequences:upload", Scope.PUBLISH),
    ("GET", f"/v1/sequences/{unknown()}/manifest", Scope.VIEW),
    ("GET", f"/v1/sequences/{unknown()}/events", Scope.VIEW),
    ("GET", "/v1/jobs", Scope.VIEW),
    ("GET", f"/v1/jobs/{unknown()}", Scope.VIEW),
    ("GET", f"/v1/jobs/{unknown()}/events", Scope.VIEW),
    ("POST", f"/v1/jobs/{unknown()}/cancel", Scope.PUBLISH),
    ("GET", f"/v1/blobs/sha256:{64 * '0'}", Scope.VIEW),
    ("GET", "/v1/bases", Scope.VIEW),
    ("GET", "/v1/key", Scope.VIEW),
]


@pytest.mark.parametrize(("method", "path", "scope"), CALLS)
def test_every_call_needs_a_key_of_its_scope(served: Served, method: str, path: str, scope: Scope) -> None:
    for header in ("", "Bearer", "Bearer md_0123456789ab_" + 43 * "A", "Basic eDp5", "Bearer nonsense"):
        answer = httpx.request(method, served.url + path, headers={"Authorization": header} if header else {})
        problem(answer, "unauthorized")
        assert answer.headers["www-authenticate"] == "Bearer"
    if scope is Scope.PUBLISH:
        answer = httpx.request(method, served.url + path, headers=served.key(Scope.VIEW))
        assert "publish" in str(problem(answer, "forbidden").detail)
    for allowed in (scope, Scope.PUBLISH, Scope.ADMIN):
        answer = httpx.request(method, served.url + path, headers=served.key(allowed))
        assert answer.status_code not in (401, 403)


def test_a_revoked_key_is_refused_at_once(served: Served) -> None:
    key, token = ApiKeys(served.bus).create([Scope.VIEW])
    headers = {"Authorization": f"Bearer {token}"}
    assert httpx.get(f"{served.url}/v1/sequences", headers=headers).status_code == 200
    ApiKeys(served.bus).revoke(key.id)
    problem(httpx.get(f"{served.url}/v1/sequences", headers=headers), "unauthorized")


def test_a_key_may_ask_what_it_allows(served: Served) -> None:
    key, token = ApiKeys(served.bus).create([Scope.VIEW], "tv")
    answer = httpx.get(f"{served.url}/v1/key", headers={"Authorization": f"Bearer {token}"})
    assert ApiKey.model_validate_json(answer.content) == key
    assert token.removeprefix(f"md_{key.id}_") not in answer.text


def test_a_sane_request_id_is_kept_and_another_replaced(served: Served) -> None:
    for sent, kept in (("trace-1.2_3", True), ("two words", False), ("x" * 65, False)):
        answer = served.http.get("/v1/nothing", headers={"X-Request-Id": sent})
        assert (problem(answer, "not-found").request_id == sent) is kept


def test_methods_that_a_client_makes_up_are_counted_as_one(served: Served) -> None:
    for n in range(3):
        problem(served.http.request(f"SPIN{n}", "/livez"), "method-not-allowed")
    counts = httpx.get(f"{served.url}/metrics").text
    assert 'method="other",operation="health-livez",status="4xx"' in counts
    assert "SPIN" not in counts


def test_a_path_cannot_forge_a_line_of_the_log(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "microdose_server.access")
    served.http.get("/v1/%0aINFO%20all%20is%20well")
    expected = r"GET '/v1/\nINFO all is well' 404 "
    assert poll(lambda: any(line.startswith(expected) for line in caplog.messages), 60)


def test_the_log_names_request_and_sequence(served: Served, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO", "microdose_server.access")
    sequence = served.create()
    served.http.get(f"/v1/sequences/{sequence}")
    named = {"method": "GET", "status": 200, "sequence": sequence}
    assert poll(lambda: any(named.items() <= line.__dict__["facts"].items() for line in caplog.records), 60)


def test_an_unforeseen_error_tells_nothing_of_its_inside(served: Served) -> None:
    sequence = served.create()
    served.bus.hset(f"md:{{s:{sequence}}}:sequence", "state", "no JSON: secret")
    answer = served.http.get(f"/v1/sequences/{sequence}")
    found = problem(answer, "internal")
    assert answer.status_code == 500
    assert "secret" not in answer.text
    assert found.request_id
    assert served.http.get("/livez").status_code == 200


def test_without_redis_it_is_unavailable_and_comes_back(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    valkey.start()
    settings = Settings(data_dir=tmp_path, redis_url=valkey.url)
    try:
        with connect(valkey.url) as bus, live_api(settings) as url, served_by(url, settings, bus) as served:
            assert served.http.get("/readyz").json() == {"redis": "ok", "blobs": "ok", "open": "ok"}
            valkey.stop()
            answer = served.http.get("/v1/sequences")
            problem(answer, "unavailable")
            assert answer.headers["retry-after"]
            assert "redis" in str(problem(served.http.get("/readyz"), "unavailable").detail)
            assert served.http.get("/livez").status_code == 200
            valkey.start()
            assert served.http.get("/v1/sequences").status_code == 200
    finally:
        valkey.stop()


def test_a_redis_that_refuses_to_write_is_unavailable(served: Served) -> None:
    served.bus.config_set("maxmemory", "1")
    try:
        problem(served.http.post("/v1/sequences"), "unavailable")
    finally:
        served.bus.config_set("maxmemory", "0")
    assert served.http.post("/v1/sequences").status_code == 201


@pytest.mark.parametrize("slug", PROBLEMS)
def test_every_problem_type_can_be_looked_up(served: Served, slug: str) -> None:
    answer = httpx.get(f"{served.url}/problems/{slug}")
    assert (answer.status_code, answer.json()["title"]) == (200, PROBLEMS[slug][1])


def test_an_unknown_problem_type_is_not_found(served: Served) -> None:
    problem(httpx.get(f"{served.url}/problems/none"), "not-found")


def test_answers_are_careful_with_browsers(served: Served) -> None:
    headers = served.http.get("/livez").headers
    assert headers["x-content-type-options"] == "nosniff"
    assert "default-src 'none'" in headers["content-security-policy"]
    assert headers["x-frame-options"] == "DENY"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cross-origin-resource-policy"] == "same-origin"
    assert headers["cache-control"] == "no-store"
    assert "server" not in headers
    for refused in (
        served.http.get("/v1/nothing"),
        served.http.put("/livez"),
        httpx.get(served.url + "/v1/jobs"),
    ):
        assert headers.items() - refused.headers.items() <= {
            (name, headers[name]) for name in ("content-type", "content-length", "x-request-id", "date")
        }


def test_the_description_of_the_api_is_sound(served: Served) -> None:
    paths = json.loads(httpx.get(f"{served.url}/openapi.json").content)["paths"]
    names = [operation["operationId"] for path in paths.values() for operation in path.values()]
    assert len(names) == len(set(names))
    assert {path for path in paths if path.startswith("/v1")} == {
        "/v1/sequences",
        "/v1/sequences/{sequence}",
        "/v1/sequences/{sequence}/complete",
        "/v1/sequences/{sequence}/frames",
        "/v1/sequences/{sequence}/frames/{n}",
        "/v1/sequences:upload",
        "/v1/sequences/{sequence}/manifest",
        "/v1/sequences/{sequence}/events",
        "/v1/jobs",
        "/v1/jobs/{job}",
        "/v1/jobs/{job}/events",
        "/v1/jobs/{job}/cancel",
        "/v1/blobs/{digest}",
        "/v1/originals/{digest}",
        "/v1/checkpoints/{digest}",
        "/v1/bases",
        "/v1/key",
    }
