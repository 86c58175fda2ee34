"""Blobs kept on disk between runs: bases, their graphs and doses, each in a file named by its digest.

    <directory>/sha256/ab/abcdef…      written to a temporary name, then renamed: never half a file

Whatever is read is verified again, so a damaged or forged file costs a download and nothing else. Several
processes may share one directory.
"""

import logging
from pathlib import Path

from microdose.digest import verify
from microdose.errors import DigestMismatch, Unavailable
from microdose_client.files import write_atomic

log = logging.getLogger(__name__)


class BlobCache:
    """A directory of verified blobs."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory

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
        return data

    def put(self, digest: str, data: bytes) -> None:
        """Keep `data`. Where the directory cannot be written, this warns; the next run downloads again."""
        try:
            write_atomic(self.path(digest), data)
        except Unavailable as error:
            log.warning("not keeping a blob for the next run: %s", error)
