import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from microdose.digest import MAX_BLOB_BYTES, digest_of
from microdose.errors import BadUpload, DigestMismatch, NotFound, Unavailable
from microdose_server.store.blobs import BlobStore, originals, public_blobs


@pytest.fixture
def store(tmp_path: Path) -> BlobStore:
    return BlobStore(tmp_path)


@pytest.mark.parametrize("data", [b"", b"a", bytes(1 << 20)], ids=len)
def test_a_blob_comes_back_under_its_digest(store: BlobStore, data: bytes) -> None:
    digest = store.put(data)
    assert digest == digest_of(data)
    assert store.get(digest) == data
    assert store.size(digest) == len(data)


def test_keeping_a_blob_twice_leaves_one_file_and_no_rest(store: BlobStore) -> None:
    assert store.put(b"once") == store.put(b"once")
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [digest_of(b"once")[7:]]


def test_another_store_of_the_same_folder_sees_it(store: BlobStore) -> None:
    assert BlobStore(store.root).get(store.put(b"shared")) == b"shared"


def test_a_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(Unavailable, match=r"/file/blobs: Not a directory"):
        BlobStore(tmp_path / "file" / "blobs")


def test_a_damaged_file_is_noticed(store: BlobStore) -> None:
    digest = store.put(b"sound")
    store.path(digest).write_bytes(b"rotten")
    with pytest.raises(DigestMismatch):
        store.get(digest)


def test_a_truncated_file_is_mended_by_keeping_the_blob_again(store: BlobStore) -> None:
    digest = store.put(b"whole")
    store.path(digest).write_bytes(b"wh")
    store.put(b"whole")
    assert store.get(digest) == b"whole"


def test_a_blob_that_is_not_there_is_not_found(store: BlobStore) -> None:
    for look in (store.get, store.size):
        with pytest.raises(NotFound):
            look(digest_of(b"elsewhere"))


def test_a_blob_over_the_limit_is_refused(store: BlobStore) -> None:
    with pytest.raises(BadUpload, match="over the limit"):
        store.put(bytes(MAX_BLOB_BYTES + 1))


def test_a_write_that_fails_leaves_nothing(store: BlobStore) -> None:
    in_the_way = store.path(digest_of(b"data"))
    in_the_way.mkdir(parents=True)
    (in_the_way / "file").touch()
    with pytest.raises(OSError, match="irectory"):
        store.put(b"data")
    assert not list((store.root / "tmp").iterdir())


FILLS_ITS_DISK = """
import resource, signal, sys
from pathlib import Path
from microdose_server.store.blobs import BlobStore
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))
with BlobStore(Path(sys.argv[1])).incoming() as new:
    new.write(bytes(2000))
    new.keep()
"""


def test_a_full_disk_leaves_nothing(store: BlobStore) -> None:
    command = [sys.executable, "-c", FILLS_ITS_DISK, str(store.root)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "OSError: [Errno 27] File too large" in done.stderr
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


@given(name=st.text(max_size=100) | st.sampled_from(["sha256:../../etc/passwd", "sha256:" + "A" * 64]))
def test_what_is_no_digest_never_becomes_a_path(tmp_path_factory: pytest.TempPathFactory, name: str) -> None:
    with pytest.raises(NotFound, match="is not a digest"):
        BlobStore(tmp_path_factory.getbasetemp()).path(name)


def test_a_blob_may_come_in_pieces(store: BlobStore) -> None:
    with store.incoming() as new:
        for piece in (b"a", b"", b"bc"):
            new.write(piece)
        new.file.seek(0)
        assert new.file.read() == b"abc"  # and may be looked at before it is kept
        assert list(store.digests()) == []
        digest = new.keep()
    assert (digest, new.size, store.get(digest)) == (digest_of(b"abc"), 3, b"abc")
    assert [path.name for path in store.root.rglob("*") if path.is_file()] == [digest[7:]]


def test_what_is_not_kept_leaves_nothing(store: BlobStore) -> None:
    with store.incoming() as new:
        new.write(b"unwanted")
    with store.incoming() as new:
        new.write(bytes(MAX_BLOB_BYTES))
        with pytest.raises(BadUpload, match=str(MAX_BLOB_BYTES)):
            new.write(b"!")
    assert [path for path in store.root.rglob("*") if path.is_file()] == []


def test_one_that_is_there_already_is_kept_once(store: BlobStore) -> None:
    store.put(b"once")
    with store.incoming() as new:
        new.write(b"once")
        assert new.keep() == digest_of(b"once")
    assert len([path for path in store.root.rglob("*") if path.is_file()]) == 1


def test_public_blobs_are_for_a_proxy_in_the_group_too_and_originals_are_not(tmp_path: Path) -> None:
    for store, mode in ((public_blobs(tmp_path), 0o640), (originals(tmp_path), 0o600)):
        assert store.path(store.put(b"bytes")).stat().st_mode & 0o777 == mode
