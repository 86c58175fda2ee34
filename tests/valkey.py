"""A real Valkey for tests; a conftest that wants it imports these fixtures."""

from collections.abc import Iterator

import pytest
import redis


@pytest.fixture(scope="session")
def redis_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The URL of a Valkey that lives as long as the test session."""
    from microdose_server.store.embedded import EmbeddedValkey

    with EmbeddedValkey(tmp_path_factory.mktemp("valkey")) as valkey:
        yield valkey.url


@pytest.fixture
def bus(redis_url: str) -> Iterator[redis.Redis]:
    """A client of it, which is empty at first and may block for 30 s."""
    from microdose_server.store.redis import connect

    with connect(redis_url, block_s=30) as client:
        client.flushall()
        yield client
