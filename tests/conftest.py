"""Settings that all tests share."""

import os

import pytest
from hypothesis import HealthCheck, settings

from tests.valkey import KIND

# Test processes may be as many as cores: threads of torch would wait for each other, several times as long as
# one takes alone. Read when torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Machines of a test run are busy: time is no sign of a fault, and examples must not change from run to run.
settings.register_profile(
    "microdose", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("microdose")

SERVER = {"redis_url", "shelf"}
"""The fixtures that need a Redis."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """With another Redis than the usual one, run what needs a Redis: the rest would be the same again."""
    if KIND == "valkey":
        return
    wanted = [item for item in items if SERVER.intersection(getattr(item, "fixturenames", ()))]
    config.hook.pytest_deselected(items=[item for item in items if item not in wanted])
    items[:] = wanted
