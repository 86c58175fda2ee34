"""Blobs on disk: bounded, those used last stay, those in use stay anyway."""

import os
from pathlib import Path

import pytest

from microdose.digest import digest_of
from microdose_server.relay.cache import BlobCache
from microdose_server.store.blobs import BlobStore

SIZE = 100


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


@pytest.fixture
def cache(store: BlobStore) -> BlobCache:
    return BlobCache(store, 3 * SIZE)


def add(cache: BlobCache, n: int, size: int = SIZE) -> str:
    digest = cache.store.put(bytes((n,)) * size)
    cache.add(digest, size)
    return digest


def use(cache: BlobCache, digest: str) -> None:
    with cache.using(digest):
        pass


def test_those_used_longest_ago_make_room(cache: BlobCache) -> None:
    first, second, third = (add(cache, n) for n in range(3))
    use(cache, first)
    fourth = add(cache, 3)
    assert [digest in cache for digest in (first, second, third, fourth)] == [True, False, True, True]
    assert (len(cache), cache.size) == (3, 3 * SIZE)
    assert set(cache.store.digests()) == {first, third, fourth}


def test_what_is_in_use_stays(cache: BlobCache) -> None:
    held = [add(cache, n) for n in range(3)]
    with cache.using(held[0]), cache.using(held[1]), cache.using(held[2]):
        big = add(cache, 3, 2 * SIZE)
        assert all(digest in cache for digest in (*held, big))
        with cache.using(held[0]):
            pass
        add(cache, 4)
        assert all(digest in cache for digest in held)
        assert big not in cache
    add(cache, 5)
    assert cache.size <= 3 * SIZE


def test_the_same_again_counts_once(cache: BlobCache) -> None:
    add(cache, 1)
    add(cache, 1)
    assert (len(cache), cache.size) == (1, SIZE)


def test_a_file_that_went_away_or_was_cut_is_not_there(cache: BlobCache) -> None:
    gone, cut = add(cache, 1), add(cache, 2)
    cache.store.path(gone).unlink()
    os.truncate(cache.store.path(cut), 5)
    assert gone not in cache
    assert cut not in cache
    assert digest_of(b"never there") not in cache
    assert "nonsense" not in cache


def test_the_next_one_takes_over_what_is_there_in_its_order(cache: BlobCache, store: BlobStore) -> None:
    digests = [add(cache, n) for n in range(3)]
    for age, digest in enumerate((digests[1], digests[0], digests[2])):
        os.utime(store.path(digest), (0, 1000 - age))
    unfinished = store.incoming()
    again = BlobCache(store, 2 * SIZE)
    assert [digest in again for digest in digests] == [True, True, False]
    assert not any((store.root / "tmp").iterdir())
    with pytest.raises(FileNotFoundError):
        unfinished.keep()
    unfinished.file.close()


def test_use_is_remembered_on_disk(cache: BlobCache, store: BlobStore) -> None:
    digest = add(cache, 1)
    os.utime(store.path(digest), (0, 0))
    use(cache, digest)
    assert store.path(digest).stat().st_mtime > 0
