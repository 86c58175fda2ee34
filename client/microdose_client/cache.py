"""Blobs kept on disk between runs: bases, their graphs and doses, each in a file named by its digest.

    <directory>/sha256/ab/abcdef…      written to a temporary name, then renamed: never half a file

Whatever is read is verified again, so a damaged or forged file costs a download and nothing else. A file's
time of change says when it was last used. Several processes may share one directory: a file that one of them
removes while another reads it is read to its end, or downloaded again.
"""

import contextlib
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from microdose.digest import verify
from microdose.errors import DigestMismatch, Unavailable
from microdose_client.files import PART, write_atomic

CACHE_BYTES = 2**30
ABANDONED_S = 3600.0
log = logging.getLogger(__name__)


class _File(NamedTuple):
    path: Path
    size: int
    used: float


class BlobCache:
    """A directory of verified blobs, of at most `limit` bytes."""

    def __init__(self, directory: Path, limit: int = CACHE_BYTES) -> None:
        self.directory, self._limit = directory, limit

    def path(self, digest: str) -> Path:
        """Where the blob of this (already validated) digest belongs."""
        algorithm, _, value = digest.partition(":")
        return self.directory / algorithm / value[:2] / value

    def get(self, digest: str) -> bytes | None:
        """The blob's bytes, or None if it is not there or not intact."""
        path = self.path(digest)
        try:
            data = path.read_bytes()
            verify(data, digest)
        except FileNotFoundError:
            return None
        except (OSError, DigestMismatch) as error:
            log.warning("ignoring the cached blob %s: %s", path, error)
            return None
        with contextlib.suppress(OSError):  # another process may have removed it, or own it
            os.utime(path)
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Keep `data`, in place of what was not used for longest if need be; nothing over the limit is kept.

        Where the directory cannot be written, this warns; the next run downloads again.
        """
        if len(data) > self._limit:
            return
        try:
            write_atomic(self.path(digest), data)
        except Unavailable as error:
            log.warning("not keeping a blob for the next run: %s", error)
        self._make_room()

    def _make_room(self) -> None:
        """Remove files, those used longest ago first, until the rest fit; and what killed writers left."""
        files = sorted(self._files(), key=lambda file: file.used, reverse=True)
        size = 0
        for file in files:
            size += file.size
            abandoned = file.path.suffix == PART and file.used < time.time() - ABANDONED_S
            if size > self._limit or abandoned:
                size -= file.size
                with contextlib.suppress(OSError):
                    file.path.unlink()

    def _files(self) -> Iterator[_File]:
        for path in self.directory.glob("sha256/*/*"):
            with contextlib.suppress(OSError):  # gone already
                status = path.stat()
                yield _File(path, status.st_size, status.st_mtime)
