"""What Prometheus reads: sound text, bounded labels, and the truth."""

import json
from pathlib import Path

import httpx
from prometheus_client.parser import text_string_to_metric_families

from microdose.problem import make_problem
from microdose_server.jobs import outcome
from microdose_server.settings import Settings
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect
from tests.live import live_api
from tests.served import Served, served_by

COMMITTED = Path(__file__).parents[2] / "docs" / "openapi.json"
Samples = dict[tuple[str, ...], float]


def scrape(url: str) -> Samples:
    """Every sample: its name and the values of its labels, in the order of their names."""
    answer = httpx.get(f"{url}/metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {
        (sample.name, *(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(answer.text)
        for sample in family.samples
    }


def description_ids() -> set[str]:
    """The operations that the description has."""
    paths = json.loads(COMMITTED.read_text())["paths"]
    return {operation["operationId"] for path in paths.values() for operation in path.values()}


def test_requests_are_counted_by_operation_whatever_they_name(served: Served) -> None:
    before = scrape(served.url)
    for _ in range(3):
        served.http.get(f"/v1/sequences/{served.create()}")
        served.http.get(f"/v1/nowhere/{served.create()}")
    after = scrape(served.url)
    read = ("microdose_requests_total", "GET", "sequences-read", "2xx")
    missed = ("microdose_requests_total", "GET", "none", "4xx")
    assert after[read] - before.get(read, 0) == 3
    assert after[missed] - before.get(missed, 0) == 3
    assert ("microdose_request_seconds_count", "GET", "sequences-read") in after
    operations = {name[2] for name in after if name[0] == "microdose_requests_total"}
    assert operations <= {*description_ids(), "none"}


def test_jobs_are_counted_where_they_stand(served: Served) -> None:
    waiting, failing, done = served.queued(), served.queued(), served.queued()
    served.publish(done)
    _, attempt = served.begin(failing)
    outcome.fail(served.bus, attempt, make_problem("bad-picture", "frame 0"))
    outcome.follow(served.bus, failing.id)  # another look counts nothing
    found = scrape(served.url)
    assert found[("microdose_jobs_ended_total", "none", "succeeded")] == 1
    assert found[("microdose_jobs_ended_total", "bad-picture", "failed")] == 1
    assert found[("microdose_jobs_waiting",)] == 3  # in rq's line, which no worker has looked at
    assert found[("microdose_queue_age_seconds",)] > 0
    assert found[("microdose_workers",)] == 0
    assert found[("microdose_redis_up",)] == 1
    assert found[("microdose_disk_free_bytes",)] > 0
    assert waiting.id not in httpx.get(f"{served.url}/metrics").text


def test_without_redis_the_rest_is_told(tmp_path: Path) -> None:
    valkey = EmbeddedValkey(tmp_path)
    valkey.start()
    settings = Settings(data_dir=tmp_path, redis_url=valkey.url)
    try:
        with connect(valkey.url) as bus, live_api(settings) as url, served_by(url, settings, bus):
            valkey.stop()
            found = scrape(url)
            assert found[("microdose_redis_up",)] == 0
            assert ("microdose_jobs_waiting",) not in found
            assert ("microdose_listeners",) in found
    finally:
        valkey.stop()
