"""What the API tells Prometheus. Labels are few and bounded: never a sequence, a job or a client.

Counted here: requests. Read from Redis and disk when asked: jobs, workers, free space; absent without Redis.
"""

import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime

import redis
from fastapi.routing import APIRoute
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector
from starlette.types import Scope

from microdose.errors import NotFound
from microdose_server.api.services import Services
from microdose_server.jobs.outcome import count_ends

_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
"""Counted by name; a client may make up any other."""
_SECONDS = (0.005, 0.02, 0.1, 0.5, 2.0, 10.0, 30.0)
STARTED = time.time()
"""When this process began, in seconds since 1970."""


def operation_id(route: APIRoute) -> str:
    """The name of an operation, in the API's description and in labels."""
    return f"{route.tags[0]}-{route.name}"


class RequestMetrics:
    """The requests of one application."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        labels = ("operation", "method")
        self._answers = Counter(
            "microdose_requests", "Requests answered.", (*labels, "status"), registry=self.registry
        )
        self._seconds = Histogram(
            "microdose_request_seconds", "Time to the end of the answer, for event streams their length.",
            labels, buckets=_SECONDS, registry=self.registry,
        )  # fmt: skip

    def count(self, scope: Scope, status: int, seconds: float) -> None:
        """Note an answer; `scope` is that of its request after it was routed."""
        route = scope.get("route")
        operation = operation_id(route) if isinstance(route, APIRoute) else "none"
        method = scope["method"] if scope["method"] in _METHODS else "other"
        self._answers.labels(operation, method, f"{status // 100}xx").inc()
        self._seconds.labels(operation, method).observe(seconds)


class Present(Collector):
    """The state of things at the moment of asking."""

    def __init__(self, here: Services) -> None:
        self._here = here

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        yield gauge("start_time_seconds", "When the process began, in seconds since 1970.", STARTED)
        yield gauge("listeners", "Event streams and long polls that are open.", self._here.pump.listening)
        free = shutil.disk_usage(self._here.settings.data_dir).free
        yield gauge("disk_free_bytes", "Free space for blobs and originals.", free)
        try:
            found = list(self._of_redis())
        except redis.RedisError:
            found = []
        yield gauge("redis_up", "Whether Redis answers.", bool(found))
        yield from found

    def _of_redis(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        queue = self._here.queue
        yield gauge("jobs_waiting", "Jobs in line for a worker.", len(queue.waiting()))
        yield gauge("jobs_running", "Jobs in the hands of a worker.", queue.running())
        yield gauge("queue_age_seconds", "How long the first in line has been waiting.", self._age())
        yield gauge("workers", "Workers that Redis knows.", queue.workers())
        ended = CounterMetricFamily(
            "microdose_jobs_ended", "Jobs that ended, by how and why.", labels=("state", "reason")
        )
        for (state, reason), count in count_ends(self._here.redis).items():
            ended.add_metric((state, reason), count)
        yield ended

    def _age(self) -> float:
        for first in self._here.queue.waiting()[:1]:
            try:
                return (datetime.now(UTC) - self._here.jobs.get(first).created).total_seconds()
            except NotFound:
                break
        return 0.0


def exposition(requests: RequestMetrics, present: Collector) -> bytes:
    """All of it, in Prometheus's text format."""
    registry = CollectorRegistry()
    registry.register(present)
    return generate_latest(requests.registry) + generate_latest(registry)


def gauge(name: str, help_text: str, value: float) -> GaugeMetricFamily:
    """A measure of the present state."""
    return GaugeMetricFamily(f"microdose_{name}", help_text, value=float(value))
