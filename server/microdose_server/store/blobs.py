"""Content-addressed files on disk: the truth about every blob.

    root/sha256/ab/ab01…      the bytes whose SHA-256 is ab01…
    root/tmp/                 files being written; a rename gives them their name

A blob is there as a whole or not at all, also after a power cut: write, fsync, rename, fsync the folder.
Its file's time says when it was last put, so that one in use again is not swept: `put` and `discard` exclude
each other by a lock on tmp/.
"""

import fcntl
import math
import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from microdose.digest import digest_of, is_digest, verify
from microdose.errors import NotFound, Unavailable
from microdose_server.store.incoming import Incoming


class BlobStore:
    """Immutable bytes by digest below one folder; safe for many processes: equal names, equal bytes."""

    def __init__(self, root: Path, mode: int = 0o600) -> None:
        """Makes the folder; `mode` is that of its files. Raises Unavailable where that cannot be."""
        self.root = root
        self._mode = mode
        self._incoming = root / "tmp"
        try:
            self._incoming.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise Unavailable(f"cannot keep blobs in {root}: {error.strerror or error}") from error

    def put(self, data: bytes) -> str:
        """Keep `data` (at most 64 MiB) and return its digest. Keeping it again costs one hash.

        Raises:
            BadUpload: more than 64 MiB.
            OSError: the disk is full or not writable; nothing is left behind.
        """
        if not self._has(digest_of(data), len(data)):
            with self.incoming() as new:
                new.write(data)
                return new.keep()
        return digest_of(data)

    def incoming(self) -> Incoming:
        """A new blob, to be written piece by piece and then kept. Raises OSError."""
        return Incoming(self._incoming, self._place)

    def get(self, digest: str) -> bytes:
        """The bytes named `digest`, hashed again on the way.

        Raises:
            NotFound: no such blob, or no such digest at all.
            DigestMismatch: the file was damaged on disk.
        """
        try:
            data = self.path(digest).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} in {self.root}") from None
        verify(data, digest)
        return data

    def path(self, digest: str) -> Path:
        """Where the blob is, or would be. Raises NotFound for anything that is not a digest."""
        if not is_digest(digest):
            raise NotFound(f"{digest[:80]!r} is not a digest; one reads sha256: and 64 hex digits")
        name = digest.removeprefix("sha256:")
        return self.root / "sha256" / name[:2] / name

    def size(self, digest: str) -> int:
        """Its length in bytes. Raises NotFound."""
        try:
            return self.path(digest).stat().st_size
        except FileNotFoundError:
            raise NotFound(f"no blob {digest} in {self.root}") from None

    def digests(self) -> Iterator[str]:
        """All blobs that are here, in no order."""
        for path in self.root.glob("sha256/??/*"):
            yield f"sha256:{path.name}"

    def discard(self, digest: str, before: float = math.inf) -> bool:
        """Remove a blob, unless it is gone or was put at or after the time `before`. Raises NotFound for
        anything that is not a digest.
        """
        path = self.path(digest)
        with self._locked(fcntl.LOCK_EX), suppress(FileNotFoundError):
            if path.stat().st_mtime < before:
                path.unlink()
                return True
        return False

    def tidy(self, before: float) -> None:
        """Remove what writers that were killed before the time `before` left unfinished."""
        for path in self._incoming.iterdir():
            with suppress(FileNotFoundError):
                if path.stat().st_mtime < before:
                    path.unlink()

    @contextmanager
    def _locked(self, kind: int) -> Iterator[None]:
        handle = os.open(self._incoming, os.O_RDONLY)
        try:
            fcntl.flock(handle, kind)
            yield
        finally:
            os.close(handle)  # and with it the lock

    def _has(self, digest: str, size: int) -> bool:
        """Whether the blob is here already; then its file is as if it were put now."""
        path = self.path(digest)
        with self._locked(fcntl.LOCK_SH):
            try:
                if path.stat().st_size != size:
                    return False
            except FileNotFoundError:
                return False
            os.utime(path)
            return True

    def _place(self, incoming: Path, digest: str, size: int) -> None:
        if self._has(digest, size):
            return
        path = self.path(digest)
        path.parent.mkdir(parents=True, exist_ok=True)
        incoming.chmod(self._mode)
        with self._locked(fcntl.LOCK_SH):
            incoming.replace(path)
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """A rename is durable only once the folder that records it is on disk too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def public_blobs(data_dir: Path) -> BlobStore:
    """What viewers may fetch: segments, doses, bases with their graphs. A proxy in the group may read it."""
    return BlobStore(data_dir / "blobs", mode=0o640)


def originals(data_dir: Path) -> BlobStore:
    """The publishers' own pictures. Never served."""
    return BlobStore(data_dir / "originals")


def checkpoints(data_dir: Path) -> BlobStore:
    """What running jobs have reached. Never served."""
    return BlobStore(data_dir / "checkpoints")
