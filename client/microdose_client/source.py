"""Where published bytes can come from: a server, a Redis, a file. All look the same from here.

    Http ──┐
    Bus  ──┼── Source ── Reader (verifies, caches, falls back) ── pictures
    MdsFile┘

An object is the same bytes wherever it is fetched, so sources may be mixed freely within one sequence.
"""

from typing import Protocol

from microdose.base import Descriptor


class Source(Protocol):
    """Something that holds published sequences. The Reader checks everything it returns."""

    @property
    def name(self) -> str:
        """What to call this source in messages; holds no secret."""

    def manifest(self, sequence: str) -> bytes:
        """The sequence's manifest as JSON. Raises NotFound, Unavailable or ProblemError."""

    def blob(self, descriptor: Descriptor) -> bytes:
        """A blob's bytes, not checked yet. Raises NotFound, Unavailable, ProblemError or CorruptStream."""

    def close(self) -> None:
        """Let go of connections and files."""
