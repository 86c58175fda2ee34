import os
from pathlib import Path

import pytest

from microdose.digest import digest_of
from microdose_server.store.blobs import BlobStore
from microdose_server.store.sweep import Swept, sweep

GRACE_S = 100.0
NOW = 1e9


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


def put(store: BlobStore, data: bytes, at: float) -> str:
    digest = store.put(data)
    os.utime(store.path(digest), (at, at))
    return digest


def look(store: BlobStore, named: set[str], before: Swept | None, at: float) -> Swept:
    return sweep(store, named, before.unnamed if before else {}, now=at, grace_s=GRACE_S)


def test_what_is_named_stays(store: BlobStore) -> None:
    digest = put(store, b"named", NOW - 1e6)
    first = look(store, {digest}, None, NOW)
    assert look(store, {digest}, first, NOW + 1e6) == Swept(0, 0, {})
    assert store.get(digest) == b"named"


def test_what_is_unnamed_goes_after_the_grace_time(store: BlobStore) -> None:
    digest = put(store, b"unnamed", NOW - 1e6)
    first = look(store, set(), None, NOW)
    assert first == Swept(0, 0, {digest: NOW})
    second = look(store, set(), first, NOW + GRACE_S - 1)
    assert second == first
    assert look(store, set(), second, NOW + GRACE_S) == Swept(1, len(b"unnamed"), {})
    assert list(store.digests()) == []


def test_what_is_named_again_begins_anew(store: BlobStore) -> None:
    digest = put(store, b"again", NOW - 1e6)
    first = look(store, set(), None, NOW)
    second = look(store, {digest}, first, NOW + GRACE_S)
    third = look(store, set(), second, NOW + 2 * GRACE_S)
    assert third.unnamed == {digest: NOW + 2 * GRACE_S}


def test_what_was_put_again_since_stays_for_who_is_about_to_name_it(store: BlobStore) -> None:
    digest = put(store, b"put again", NOW - 1e6)
    first = look(store, set(), None, NOW)
    put(store, b"put again", NOW + GRACE_S - 1)
    assert look(store, set(), first, NOW + GRACE_S).removed == 0
    assert digest in store.digests()


def test_a_clock_that_was_wrong_does_not_keep_a_blob_for_ever(store: BlobStore) -> None:
    digest = put(store, b"future", NOW - 1e6)
    assert look(store, set(), Swept(0, 0, {digest: NOW + 1e9}), NOW).unnamed == {digest: NOW}


def test_what_a_killed_writer_left_goes_too(store: BlobStore) -> None:
    rest = store.root / "tmp" / "rest"
    rest.touch()
    os.utime(rest, (NOW - GRACE_S - 1, NOW - GRACE_S - 1))
    look(store, set(), None, NOW)
    assert not rest.exists()


def test_putting_again_makes_a_blob_young(store: BlobStore) -> None:
    digest = put(store, b"old", 0.0)
    store.put(b"old")
    assert not store.discard(digest, 1e6)
    assert store.get(digest) == b"old"
    assert not store.discard(digest_of(b"not there"), 1e6)
