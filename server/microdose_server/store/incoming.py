"""A blob on its way to disk: hashed while it is written, there as a whole or not at all."""

import hashlib
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Self

from microdose.digest import MAX_BLOB_BYTES
from microdose.errors import BadUpload

PIECE = 1 << 18
"""Bytes that are copied at a time."""


class Incoming:
    """A file without a name yet, in a store's folder; a context manager that forgets what was not kept.

    `file` can be read anywhere in between. Not safe for threads.
    """

    def __init__(self, folder: Path, keep: Callable[[Path, str, int], None]) -> None:
        """`keep` gives the complete file its place by digest and size. Raises OSError: no room, no right."""
        handle, name = tempfile.mkstemp(dir=folder)
        self.file: IO[bytes] = os.fdopen(handle, "w+b")
        self.size = 0
        self._path = Path(name)
        self._keep = keep
        self._hash = hashlib.sha256()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self.file.close()  # writes what is buffered, which a full disk refuses again
        finally:
            self._path.unlink(missing_ok=True)

    @property
    def digest(self) -> str:
        """The name of what has been written so far."""
        return f"sha256:{self._hash.hexdigest()}"

    def write(self, data: bytes | bytearray) -> None:
        """Add bytes at the end.

        Raises:
            BadUpload: more than 64 MiB in all.
            OSError: the disk is full.
        """
        self.size += len(data)
        if self.size > MAX_BLOB_BYTES:
            raise BadUpload(f"a blob is over the limit of {MAX_BLOB_BYTES} bytes; split it")
        self._hash.update(data)
        self.file.write(data)

    def copy(self, source: IO[bytes]) -> None:
        """Add all that `source` still has. Raises as `write`."""
        while piece := source.read(PIECE):
            self.write(piece)

    def keep(self) -> str:
        """Put it into the store, safe from a power cut; returns its digest. Raises OSError."""
        self.file.flush()
        os.fsync(self.file.fileno())
        self._keep(self._path, self.digest, self.size)
        return self.digest
