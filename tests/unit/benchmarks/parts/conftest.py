from collections.abc import Callable

import pytest

from benchmarks.parts.requests import Scene
from tests.served import unknown


@pytest.fixture
def scene_at() -> Callable[[int], Scene]:
    """A scene at a port, where nothing is as it says."""
    name = unknown()
    return lambda port: Scene(port, "md_key", name, name, name, name, f"sha256:{64 * '0'}")
