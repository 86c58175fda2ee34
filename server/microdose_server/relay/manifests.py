"""Manifests of the upstream, asked for again by ETag: at most once a second, or when an event has come."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Final, Literal

from anyio import to_thread

from microdose.digest import digest_of
from microdose.document import Document, parse_document
from microdose.errors import BadUpstream, CorruptStream, NotFound, Removed
from microdose.ids import Id
from microdose.manifest import MAX_MANIFEST_BYTES, Count
from microdose_server.api.pump import START, parse_id
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Kept, Policy
from microdose_server.relay.upstream import Upstream

POLICY: Final = Policy(fresh_s=1.0, most=256 << 20, nothing=4 << 10)
"""Its weight is in bytes; that there is no manifest takes some too."""


class _Head(Document):
    """What a relay reads of a manifest; the rest is the viewers', and may be newer than this program."""

    format: Literal["microdose-manifest"]
    sequence: Id
    version: Count
    last_event_id: str = START


@dataclass(frozen=True)
class Snapshot:
    """A manifest as it was answered; `newest` is the number of the last event that it has in it."""

    data: bytes
    etag: str
    version: int
    newest: int


class Manifests:
    """`heard` tells the number of a sequence's newest event, where that is known otherwise."""

    def __init__(
        self,
        upstream: Upstream,
        flights: Flights,
        heard: Callable[[str], int | None],
        policy: Policy = POLICY,
    ) -> None:
        self._upstream, self._heard = upstream, heard
        self._kept = Kept[str, Snapshot](flights, policy, weigh=lambda snapshot: len(snapshot.data))

    async def get(self, sequence: str, at_least: int = 0) -> Snapshot:
        """The newest manifest: one of event number `at_least`, if there is any such. Raises as `Upstream`."""

        def enough(snapshot: Snapshot | None) -> bool:
            newest = snapshot.newest if snapshot else 0
            return newest >= at_least and self._heard(sequence) in (None, newest)

        return await self._kept.get(sequence, partial(self._ask, sequence), enough)

    async def newest(self, sequence: str, at_least: int = 0) -> int:
        """The number of the last event in the manifest; 0 where none is published. Raises as `Upstream`."""
        try:
            return (await self.get(sequence, at_least)).newest
        except Removed:
            raise
        except NotFound:
            return 0

    async def _ask(self, sequence: str, old: Snapshot | None) -> Snapshot:
        path, etag = f"/v1/sequences/{sequence}/manifest", old.etag if old else None
        data = await self._upstream.document(path, MAX_MANIFEST_BYTES, etag=etag)
        if data is None and old is not None:
            return old
        return await to_thread.run_sync(_snapshot, data or b"", sequence)


def _snapshot(data: bytes, sequence: str) -> Snapshot:
    try:
        head = parse_document(_Head, data, MAX_MANIFEST_BYTES)
        newest, _ = parse_id(head.last_event_id)
    except (CorruptStream, ValueError) as error:
        raise BadUpstream(f"the upstream's manifest of {sequence}: {error}") from error
    if head.sequence != sequence:
        raise BadUpstream(f"the upstream answers with the manifest of {head.sequence}, not of {sequence}")
    return Snapshot(data, f'"{digest_of(data)}"', head.version, newest)
