"""The blob cache: verified on the way out, atomic on the way in, never a reason to fail."""

import logging
import threading
from pathlib import Path

import pytest

from microdose.digest import digest_of
from microdose_client.cache import BlobCache

DATA = b"a base, say"
DIGEST = digest_of(DATA)


@pytest.fixture
def cache(tmp_path: Path) -> BlobCache:
    return BlobCache(tmp_path / "cache")


def test_keeps_what_it_is_given(cache: BlobCache) -> None:
    assert cache.get(DIGEST) is None
    cache.put(DIGEST, DATA)
    assert cache.get(DIGEST) == DATA
    assert [path.name for path in cache.directory.rglob("*") if path.is_file()] == [DIGEST[7:]]


def test_a_damaged_file_counts_as_absent_and_is_replaced(
    cache: BlobCache, caplog: pytest.LogCaptureFixture
) -> None:
    cache.put(DIGEST, DATA)
    cache.path(DIGEST).write_bytes(b"something else")
    with caplog.at_level(logging.WARNING):
        assert cache.get(DIGEST) is None
    assert "ignoring" in caplog.text
    cache.put(DIGEST, DATA)
    assert cache.get(DIGEST) == DATA


def test_a_directory_that_cannot_be_written_is_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    blocked = tmp_path / "file"
    blocked.write_bytes(b"")
    cache = BlobCache(blocked)
    with caplog.at_level(logging.WARNING):
        cache.put(DIGEST, DATA)
        assert cache.get(DIGEST) is None
    assert "not keeping" in caplog.text


def test_many_writers_of_one_blob_leave_one_whole_file(cache: BlobCache) -> None:
    data = bytes(100_000)
    threads = [threading.Thread(target=cache.put, args=(digest_of(data), data)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert cache.get(digest_of(data)) == data
    assert len([path for path in cache.directory.rglob("*") if path.is_file()]) == 1
