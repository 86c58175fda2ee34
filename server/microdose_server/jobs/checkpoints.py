"""The checkpoint of a job's distillation, kept where the next attempt finds it, on whichever machine.

    a run, packed --a thread--> shelf of checkpoints --fenced--> md:{s:<id>}:checkpoints: its digest
                                        |
            one file per job: the one before goes as soon as the next is named

Training goes on while the thread writes, and where it cannot write.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress

import redis

from microdose.errors import DigestMismatch, MicrodoseError, NotFound
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import forget_checkpoint, read_checkpoint, write_checkpoint
from microdose_server.store.redis import patiently
from microdose_server.store.shelf import Shelf

log = logging.getLogger(__name__)


class Checkpoints:
    """The checkpoint of one attempt, a `distil.checkpoint.Keeper`; a context manager, which waits for the
    last one to be written.
    """

    def __init__(
        self,
        client: redis.Redis,
        attempt: Attempt,
        shelf: Shelf,
        every_s: float,
        now: Callable[[], float] = time.monotonic,
    ) -> None:
        """`every_s` seconds from one to the next."""
        self._client, self._attempt, self._shelf = client, attempt, shelf
        self._every_s, self._now = every_s, now
        self._since = now()
        self._thread = ThreadPoolExecutor(1, "checkpoint")
        self._writing: Future[None] | None = None
        self._newest: str | None = None

    def __enter__(self) -> "Checkpoints":
        return self

    def __exit__(self, *_: object) -> None:
        self._thread.shutdown()

    def load(self) -> bytes | None:
        """What an earlier attempt has left; None where that is nothing, or of no use."""
        self._newest = patiently(lambda: read_checkpoint(self._client, self._attempt.sequence))
        if self._newest is None:
            return None
        try:
            return self._shelf.get(self._newest)
        except (NotFound, DigestMismatch) as error:
            log.warning("the checkpoint is of no use: %s", error)
            return None

    def due(self) -> bool:
        """Whether it is time for the next, and the last is written."""
        written = self._writing is None or self._writing.done()
        return written and self._now() - self._since >= self._every_s

    def save(self, data: bytes) -> None:
        """Have `data` written, in place of what there is."""
        self._since = self._now()
        self._writing = self._thread.submit(self._write, data)

    def discard(self) -> None:
        """Forget it and remove the file, once its sequence is published."""
        self._thread.submit(self._discard)

    def _write(self, data: bytes) -> None:
        try:
            digest = self._shelf.put(data)
            before = write_checkpoint(self._client, self._attempt, digest)
        except (MicrodoseError, OSError, redis.RedisError) as error:  # Fenced too: the report will say so
            log.warning("no checkpoint was kept: %s", error)
            return
        self._newest = digest
        if before != digest:
            self._remove(before)

    def _discard(self) -> None:
        with suppress(redis.RedisError):
            forget_checkpoint(self._client, self._attempt.sequence)
        self._remove(self._newest)

    def _remove(self, digest: str | None) -> None:
        """Remove a file that nothing names; else garbage collection will."""
        if digest is not None:
            with suppress(MicrodoseError, OSError):
                self._shelf.discard(digest)
