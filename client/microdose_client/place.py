"""Where a viewer is in a sequence: snapshots and events in, what to do next out. No I/O, no clock.

    manifest ─► Place.snapshot ─┬─► Announce(an epoch's doses) ─► prepare a decoder
    event ────► Place.event ────┴─► Show(a segment) ────────────► decode it with the decoder of its epoch
                    └──► Missed: events are gone or do not fit, read the manifest again

Every picture is shown once and in order, by whichever way the viewer hears of it, and however often.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from microdose.base import Descriptor
from microdose.document import Document, parse_document
from microdose.dose import MAX_CHAIN
from microdose.errors import CorruptStream, Removed
from microdose.manifest import MAX_EPOCHS, MAX_EVENT_BYTES, Event, Manifest, SegmentEntry


@dataclass(frozen=True)
class Announce:
    """A decoder is wanted soon: for this epoch, of these doses."""

    epoch: int
    doses: tuple[Descriptor, ...]


@dataclass(frozen=True)
class Show:
    """A picture's turn has come. `doses` are those of its epoch; for the rest see DecodedPicture."""

    segment: SegmentEntry
    doses: tuple[Descriptor, ...]
    published: float | None = None
    discontinuity: str | None = None


Action = Announce | Show


TYPES = frozenset(get_args(Event.model_fields["type"].annotation))


class Missed(Exception):
    """The log has a gap for this viewer: only the manifest can say what is between."""


class Place:
    """A viewer's place in one sequence: `after` is the id of the last event it knows."""

    def __init__(self, sequence: str, start: int = 0) -> None:
        """Begins at picture `start`; counted from the newest one if negative, so that -1 is the newest."""
        self.sequence, self.after, self._ended = sequence, "0-0", False
        self._start, self._next, self._seq = start, max(start, 0), -1
        self._base: Descriptor | None = None
        self._epochs: dict[int, tuple[Descriptor, ...]] = {}
        self._discontinuity: str | None = None

    def ended(self) -> bool:
        """Whether nothing more will come."""
        return self._ended

    def snapshot(self, manifest: Manifest) -> Iterator[Action]:
        """All that a manifest has and the viewer has not. Raises CorruptStream if it is of another base."""
        if manifest.base != (self._base or manifest.base):
            raise CorruptStream(f"sequence {self.sequence} has changed its base: join it anew")
        if self._base is None and self._start < 0:
            self._next = next((entry.n for entry in manifest.segments[self._start :]), 0)
        self._base, self._seq, self.after = manifest.base, manifest.seq, manifest.last_event_id
        self._ended = manifest.ended
        self._epochs = {entry.epoch: manifest.doses(entry.epoch) for entry in manifest.epochs}
        for segment in manifest.segments:
            if segment.n >= self._next:
                yield self._show(segment)
        newest = max(self._epochs, default=0)
        if not self._ended and newest in self._epochs:
            yield Announce(newest, self._epochs[newest])

    def event(self, event_id: str, data: bytes) -> Iterator[Action]:
        """What an event asks for; nothing if it was known.

        Raises Missed; CorruptStream for what is no event; Removed.
        """
        event = _parse(data)
        if event.seq > self._seq + 1:
            raise Missed
        if event.seq <= self._seq:
            return
        yield from self._take(event)
        self._seq, self.after = event.seq, event_id or self.after

    def _take(self, event: Event) -> Iterator[Action]:
        match event.type:
            case "init" if event.base in (None, self._base):
                yield self._announce(event)
            case "segment" if event.segment is not None:
                if event.segment.n >= self._next:
                    yield self._show(event.segment, event.time)
            case "discontinuity":
                self._discontinuity = event.reason or "unknown"
            case "end":
                self._ended = True
            case "removed":
                raise Removed(f"sequence {self.sequence} was removed by its publisher")
            case _:
                raise Missed

    def _announce(self, event: Event) -> Announce:
        above = () if event.parent is None else self._epochs.get(event.parent, ())
        doses = () if event.dose is None else (*above, event.dose)
        known = event.parent is None or (above and event.parent < event.epoch)
        if not known or len(doses) > MAX_CHAIN or len(self._epochs) >= MAX_EPOCHS:
            raise Missed
        self._epochs[event.epoch] = doses
        return Announce(event.epoch, doses)

    def _show(self, segment: SegmentEntry, time_ms: int | None = None) -> Show:
        if segment.epoch not in self._epochs:
            raise Missed
        self._next = segment.n + 1
        discontinuity, self._discontinuity = self._discontinuity, None
        published = None if time_ms is None else time_ms / 1000
        return Show(segment, self._epochs[segment.epoch], published, discontinuity)


class _Kind(Document):
    """As much of an event as every version of the protocol has."""

    seq: int
    type: str


def _parse(data: bytes) -> Event:
    """An event from JSON. Raises CorruptStream; Missed for one that only a newer program understands."""
    if parse_document(_Kind, data, MAX_EVENT_BYTES).type not in TYPES:
        raise Missed
    return parse_document(Event, data, MAX_EVENT_BYTES)
