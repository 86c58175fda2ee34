"""The blob cache: verified on the way out, atomic on the way in, never a reason to fail."""

import logging
import os
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from microdose.digest import digest_of
from microdose_client.cache import ABANDONED_S, BlobCache

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


def put(cache: BlobCache, n: int, size: int = 1000) -> str:
    data = bytes([n]) * size
    cache.put(digest_of(data), data)
    return digest_of(data)


def age(cache: BlobCache, digest: str, seconds: float) -> None:
    path = cache.path(digest)
    then = path.stat().st_mtime - seconds
    os.utime(path, (then, then))


def test_what_was_not_used_for_longest_makes_room(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 3000)
    first, second, third = (put(cache, n) for n in range(3))
    for n, digest in enumerate((first, second, third)):
        age(cache, digest, 100 - n)
    assert cache.get(first) is not None
    fourth = put(cache, 3)
    kept = [cache.get(digest) is not None for digest in (first, second, third, fourth)]
    assert kept == [True, False, True, True]


def test_nothing_over_the_limit_is_kept_and_nothing_goes_for_it(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 3000)
    small, big = put(cache, 0), put(cache, 1, 3001)
    assert cache.get(small) is not None
    assert cache.get(big) is None


def test_what_killed_writers_left_is_removed_and_other_files_stay(tmp_path: Path) -> None:
    cache = BlobCache(tmp_path, 3000)
    digest = put(cache, 0)
    (tmp_path / "weights.bin").write_bytes(bytes(10_000))
    for name, seconds in ((".new.part", 0.0), (".old.part", 2 * ABANDONED_S)):
        path = cache.path(digest).parent / name
        path.write_bytes(b"half")
        os.utime(path, (path.stat().st_mtime - seconds,) * 2)
    put(cache, 1)
    left = sorted(path.name for path in tmp_path.rglob("*") if path.suffix in (".part", ".bin"))
    assert left == [".new.part", "weights.bin"]


HAMMER = """
import sys
from pathlib import Path
from microdose.digest import digest_of
from microdose_client.cache import BlobCache

cache = BlobCache(Path(sys.argv[1]), 20_000)
for turn in range(60):
    data = bytes([turn % 30]) * 1000
    assert cache.get(digest_of(data)) in (None, data)
    cache.put(digest_of(data), data)
"""


def test_processes_share_a_directory(tmp_path: Path) -> None:
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    command = [sys.executable, "-c", HAMMER, str(tmp_path)]
    processes = [subprocess.Popen(command, env=os.environ | path) for _ in range(3)]
    assert [process.wait(120) for process in processes] == [0, 0, 0]
    files = [file for file in tmp_path.rglob("*") if file.is_file()]
    assert sum(file.stat().st_size for file in files) <= 20_000
    assert not [file for file in files if file.suffix == ".part"]
