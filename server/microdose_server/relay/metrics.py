"""What a relay tells Prometheus, on top of what the API tells of requests."""

import shutil
import time
from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily
from prometheus_client.registry import Collector

from microdose_server.api.metrics import STARTED, gauge
from microdose_server.relay.services import Relay


class Present(Collector):
    """The state of things at the moment of asking."""

    def __init__(self, here: Relay) -> None:
        self._here = here

    def collect(self) -> Iterator[CounterMetricFamily | GaugeMetricFamily]:
        here, blobs = self._here, self._here.blobs
        yield gauge("start_time_seconds", "When the process began, in seconds since 1970.", STARTED)
        yield gauge("listeners", "Event streams and long polls that are open.", here.feeds.listening)
        yield gauge("followed", "Sequences whose events are read from the upstream.", here.feeds.followed)
        if here.upstream.heard is not None:
            silence = time.monotonic() - here.upstream.heard
            yield gauge("upstream_silence_seconds", "Since the upstream's last good answer began.", silence)
        yield gauge("cache_bytes", "Size of the blobs that are kept.", blobs.cache.size)
        yield gauge("cache_blobs", "How many blobs are kept.", len(blobs.cache))
        free = shutil.disk_usage(blobs.store.root).free
        yield gauge("disk_free_bytes", "Free space for blobs.", free)
        yield _counter("cache_hits", "Blobs asked for that were here.", blobs.found)
        yield _counter("fetched_blobs", "Blobs fetched from the upstream.", blobs.fetched)
        yield _counter("fetched_bytes", "Their size.", blobs.fetched_bytes)


def _counter(name: str, help_text: str, value: int) -> CounterMetricFamily:
    return CounterMetricFamily(f"microdose_{name}", help_text, value=value)
