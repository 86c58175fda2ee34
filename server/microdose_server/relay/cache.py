"""Blobs kept on disk up to so many bytes: those that were asked for last.

What is being sent is never removed. The order of use survives a restart as the files' times.
"""

import math
import os
import time
from collections import Counter, OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

from microdose.errors import NotFound
from microdose_server.store.blobs import BlobStore


class BlobCache:
    """Bounds a store, which must be this process's alone. Not safe for threads."""

    def __init__(self, store: BlobStore, limit: int) -> None:
        """Takes over what is there, and removes what is over `limit` bytes or was left unfinished."""
        self.store, self._limit = store, limit
        self._sizes: OrderedDict[str, int] = OrderedDict()
        self._used: Counter[str] = Counter()
        self.size = 0
        store.tidy(time.time())
        found = {digest: store.path(digest).stat() for digest in store.digests()}
        for digest, status in sorted(found.items(), key=lambda item: item[1].st_mtime):
            self.add(digest, status.st_size)

    def __len__(self) -> int:
        return len(self._sizes)

    def __contains__(self, digest: str) -> bool:
        """Whether this blob is kept, and its file has not gone by itself."""
        try:
            return digest in self._sizes and self.store.size(digest) == self._sizes[digest]
        except NotFound:
            return False

    def add(self, digest: str, size: int) -> None:
        """Note a blob that was put into the store, and make room for it."""
        self.size -= self._sizes.pop(digest, 0)
        self._make_room(size)
        self._sizes[digest] = size
        self.size += size

    @contextmanager
    def using(self, digest: str) -> Iterator[None]:
        """Hold on to a blob that is kept while the context lasts; it counts as used now."""
        self._sizes.move_to_end(digest)
        os.utime(self.store.path(digest))
        self._used[digest] += 1
        try:
            yield
        finally:
            self._used[digest] -= 1
            if not self._used[digest]:
                del self._used[digest]

    def _make_room(self, size: int) -> None:
        excess, leaving = self.size + size - self._limit, []
        for digest, length in self._sizes.items():
            if excess <= 0:
                break
            if digest not in self._used:
                leaving.append(digest)
                excess -= length
        for digest in leaving:
            self.size -= self._sizes.pop(digest)
            self.store.discard(digest, math.inf)
