"""Where published bytes can come from: a server, a Redis, a file. All look the same from here.

    Api ───┐
    Bus  ──┼── Source ── Reader (verifies, caches, falls back) ── pictures
    MdsFile┘

An object is the same bytes wherever it is fetched, so sources may be mixed freely within one sequence.
"""

from collections.abc import AsyncGenerator
from typing import NamedTuple, Protocol

from microdose.base import Descriptor


class Heard(NamedTuple):
    """What an event log said: an event's JSON, or None in place of events that are gone."""

    id: str
    event: bytes | None


class Source(Protocol):
    """Something that holds published sequences. The Reader checks everything it returns."""

    @property
    def name(self) -> str:
        """What to call this source in messages; holds no secret."""

    async def manifest(self, sequence: str) -> bytes:
        """The sequence's manifest as JSON. Raises NotFound, Unavailable or ProblemError."""

    async def blob(self, descriptor: Descriptor) -> bytes:
        """A blob's bytes, not checked yet. Raises NotFound, Unavailable, ProblemError or CorruptStream."""

    def events(self, sequence: str, after: str) -> AsyncGenerator[Heard | None]:
        """What is said after event id `after`, as it comes; None is a sign of life.

        Ends when the other side says so; come back then. Raises as `manifest` does.
        """

    async def close(self) -> None:
        """Let go of connections and files."""
