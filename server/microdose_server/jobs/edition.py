"""What a live sequence has published at one moment, as plain values, and how it grows. `broadcast` writes it.

edition --segment, epoch, discontinuity, end--> the next edition
"""

import time
from collections.abc import Iterable
from dataclasses import dataclass, replace

from microdose.base import LoadedBase
from microdose.dose import MAX_CHAIN, DoseKind
from microdose.manifest import BASE_TYPE, SEGMENT_TYPE, ByteCounts, EpochEntry, Event, Manifest, SegmentEntry
from microdose.resources import Results
from microdose.segment import parse_segment
from microdose_server.jobs.publication import RECALLED, Blob, Coded, with_own_size
from microdose_server.store.bus import event_id


@dataclass(frozen=True, slots=True)
class Listed:
    """A segment in the manifest, and how many of its bytes are latents."""

    entry: SegmentEntry
    latents: int

    @classmethod
    def of(cls, coded: Coded) -> "Listed":
        """The entry of a coded picture."""
        segment, frame = parse_segment(coded.segment), coded.frame
        entry = SegmentEntry(
            n=frame.n,
            epoch=segment.header.epoch,
            name=frame.name,
            width=frame.width,
            height=frame.height,
            blob=Blob(SEGMENT_TYPE, coded.segment).descriptor,
            notes=frame.notes,
        )
        return cls(entry, len(segment.hyper) + len(segment.latents))


@dataclass(frozen=True, slots=True)
class Edition:
    """A manifest with the event that led to it from the edition before.

    `past` counts all pictures, pixels and bytes so far, the manifest's own apart; None before the first.
    """

    manifest: Manifest
    listed: tuple[Listed, ...] = ()
    past: Results | None = None
    event: Event | None = None

    @classmethod
    def empty(cls, sequence: str, name: str | None, base: LoadedBase, window: int) -> "Edition":
        """Before anything was published."""
        document = Blob(BASE_TYPE, base.document.to_bytes()).descriptor
        size = document.size + len(base.student) + len(base.hyper)
        counts = ByteCounts(base=size)
        return cls(
            Manifest(
                sequence=sequence, name=name, version=0, seq=0, base=document, window=window, bytes=counts
            )
        )

    @property
    def next_n(self) -> int:
        """The number after the last published one; 0 at first."""
        return self.listed[-1].entry.n + 1 if self.listed else 0

    @property
    def next_epoch(self) -> int:
        """The number that a new epoch gets."""
        return max((entry.epoch for entry in self.manifest.epochs), default=-1) + 1

    def epoch_of(self, n: int) -> EpochEntry:
        """The epoch that segment `n`, one to come, belongs to: the newest that has begun by then."""
        return max((e for e in self.manifest.epochs if e.first <= n), key=lambda entry: entry.epoch)

    @property
    def starts(self) -> tuple[int | None, ...]:
        """The epochs that a new dose may build on, of the newest; None: the generic student."""
        newest = sorted(entry.epoch for entry in self.manifest.epochs)[-RECALLED:]
        return (None, *(n for n in newest if 0 < len(self.manifest.doses(n)) < MAX_CHAIN))

    @property
    def results(self) -> Results | None:
        """All that was measured so far."""
        if self.past is None:
            return None
        headers = self.past.bytes.headers + len(self.manifest.to_bytes())
        counts = self.past.bytes.model_copy(update={"headers": headers})
        kind = self.epoch_of(self.next_n - 1).kind if self.listed else DoseKind.NONE
        bpp = 8 * counts.total / self.past.pixels
        return self.past.model_copy(update={"bytes": counts, "bpp_total": bpp, "dose_kind": kind})

    def begin_epoch(self, entry: EpochEntry, now_ms: int) -> "Edition":
        """With one more epoch, announced."""
        told = {name: getattr(entry, name) for name in EpochEntry.model_fields}
        event = self._event("init", now_ms, base=self.manifest.base, **told)
        past = self.past
        if past is not None and entry.dose is not None:
            past = _plus(past, ByteCounts(dose=entry.dose.size))
        return replace(self, past=past)._revise(event, epochs=(*self.manifest.epochs, entry))

    def add(self, listed: Listed, now_ms: int) -> "Edition":
        """With one more segment at the end, and the oldest one dropped where the window is full."""
        entry = listed.entry
        event = self._event("segment", now_ms, epoch=entry.epoch, segment=entry)
        kept = (*self.listed, listed)[-(self.manifest.window or 0) :]
        counts = ByteCounts(latents=listed.latents, headers=entry.blob.size - listed.latents)
        if self.past is None:
            doses = sum(epoch.dose.size for epoch in self.manifest.epochs if epoch.dose)
            counts = counts.model_copy(update={"dose": doses, "base": self.manifest.bytes.base})
        past = _plus(self.past or _NOTHING, counts, pictures=1, pixels=entry.width * entry.height)
        segments = tuple(one.entry for one in kept)
        epochs = needed(self.manifest.epochs, segments)
        return replace(self, listed=kept, past=past)._revise(event, segments=segments, epochs=epochs)

    def interrupt(self, reason: str, now_ms: int) -> "Edition":
        """With a discontinuity after the last segment."""
        return self._revise(self._event("discontinuity", now_ms, reason=reason))

    def end(self, reason: str | None, now_ms: int) -> "Edition":
        """Ended."""
        return self._revise(self._event("end", now_ms, reason=reason), ended=True)

    def _event(self, type: str, now_ms: int, **more: object) -> Event:
        newest = max((entry.epoch for entry in self.manifest.epochs), default=0)
        told = {"seq": self.manifest.seq + 1, "type": type, "epoch": newest, "time": now_ms}
        return Event.model_validate(told | more)

    def _revise(self, event: Event, **changes: object) -> "Edition":
        following = {
            "version": self.manifest.version + 1,
            "seq": event.seq,
            "last_event_id": event_id(event.seq),
        }
        manifest = self.manifest.model_copy(update=following | changes)
        return replace(self, manifest=with_own_size(_counted(manifest, self.listed)), event=event)


_NOTHING = Results(pictures=0, pixels=0, bytes=ByteCounts(), bpp_total=0, dose_kind=DoseKind.NONE)


def needed(epochs: Iterable[EpochEntry], segments: tuple[SegmentEntry, ...]) -> tuple[EpochEntry, ...]:
    """The epochs that these segments, later ones, or the doses of either need: parents stay with children."""
    epochs = tuple(epochs)
    newest = segments[-1].epoch if segments else 0
    wanted = {segment.epoch for segment in segments} | {e.epoch for e in epochs if e.epoch >= newest}
    for entry in sorted(epochs, key=lambda entry: entry.epoch, reverse=True):  # parents are earlier
        if entry.epoch in wanted and entry.parent is not None:
            wanted.add(entry.parent)
    return tuple(entry for entry in epochs if entry.epoch in wanted)


def _plus(past: Results, more: ByteCounts, *, pictures: int = 0, pixels: int = 0) -> Results:
    sums = {name: getattr(past.bytes, name) + getattr(more, name) for name in ByteCounts.model_fields}
    update = {
        "pictures": past.pictures + pictures,
        "pixels": past.pixels + pixels,
        "bytes": ByteCounts(**sums),
    }
    return past.model_copy(update=update)


def _counted(manifest: Manifest, listed: tuple[Listed, ...]) -> Manifest:
    """The manifest with the bytes of what it lists; its own come last."""
    latents = sum(one.latents for one in listed)
    counts = ByteCounts(
        latents=latents,
        dose=sum(entry.dose.size for entry in manifest.epochs if entry.dose),
        headers=sum(one.entry.blob.size for one in listed) - latents,
        base=manifest.bytes.base,
    )
    return manifest.model_copy(update={"bytes": counts})


def now_ms() -> int:
    """Milliseconds since 1970."""
    return time.time_ns() // 1_000_000
