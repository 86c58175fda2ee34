"""What a finished job publishes, as plain values: manifest, events, results. Pure: `work` writes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from microdose.base import Descriptor, LoadedBase
from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.manifest import (
    BASE_TYPE,
    DOSE_TYPE,
    HYPER_TYPE,
    SEGMENT_TYPE,
    STUDENT_TYPE,
    ByteCounts,
    EpochEntry,
    Event,
    Manifest,
    SegmentEntry,
)
from microdose.resources import Frame, Results
from microdose.segment import pack_segment, parse_segment
from microdose_server.store.bus import event_id

RECALLED = 3
"""So many of the newest epochs may be built on: scenes cut back and forth."""


@dataclass(frozen=True, slots=True)
class Blob:
    """Bytes with the type under which they are published."""

    media_type: str
    data: bytes

    @property
    def descriptor(self) -> Descriptor:
        """What names them."""
        return Descriptor(media_type=self.media_type, digest=digest_of(self.data), size=len(self.data))


@dataclass(frozen=True, slots=True)
class Coded:
    """One picture of a sequence: the frame it came from and its segment blob."""

    frame: Frame
    segment: bytes

    @property
    def epoch(self) -> int:
        """The number of the epoch that it is in."""
        return parse_segment(self.segment).header.epoch

    def in_epoch(self, epoch: int) -> "Coded":
        """The same, to be decoded under the dose of an epoch: only the segment's header says which."""
        segment = parse_segment(self.segment)
        header = replace(segment.header, epoch=epoch)
        return replace(self, segment=pack_segment(replace(segment, header=header)))


@dataclass(frozen=True, slots=True)
class Epoch:
    """A dose, or None for the generic student, and the epoch that it builds on; its number is its place."""

    kind: DoseKind
    dose: bytes | None = None
    parent: int | None = None


def doses_of(epochs: Sequence[Epoch], number: int | None) -> tuple[bytes, ...]:
    """The chain of doses of an epoch, the oldest first; of none, or without a dose: nothing."""
    if number is None or (dose := epochs[number].dose) is None:
        return ()
    return (*doses_of(epochs, epochs[number].parent), dose)


@dataclass(frozen=True, slots=True)
class Publication:
    """All of one sequence."""

    blobs: tuple[Blob, ...]
    manifest: Manifest
    events: tuple[Event, ...]


def make_publication(
    sequence: str,
    name: str | None,
    base: LoadedBase,
    pictures: Sequence[Coded],
    epochs: Sequence[Epoch],
) -> Publication:
    """The publication of coded pictures, in order, each in one of these epochs."""
    of_base = base_blobs(base)
    document = of_base[-1]
    segments = [Blob(SEGMENT_TYPE, coded.segment) for coded in pictures]
    doses = [Blob(DOSE_TYPE, epoch.dose) for epoch in epochs if epoch.dose is not None]
    entries = tuple(_entry(coded, blob) for coded, blob in zip(pictures, segments, strict=True))
    listed = tuple(_epoch_entry(n, epoch, entries) for n, epoch in enumerate(epochs))
    events = tuple(_events(entries, document.descriptor, listed))
    manifest = Manifest(
        sequence=sequence,
        name=name,
        version=1,
        seq=len(events),
        last_event_id=event_id(len(events)),
        base=document.descriptor,
        epochs=listed,
        segments=entries,
        ended=True,
        bytes=_count(of_base, pictures, doses),
    )
    return Publication((*of_base, *segments, *doses), with_own_size(manifest), events)


def base_blobs(base: LoadedBase) -> tuple[Blob, ...]:
    """A base's graphs, and last its document."""
    document = Blob(BASE_TYPE, base.document.to_bytes())
    return Blob(STUDENT_TYPE, base.student), Blob(HYPER_TYPE, base.hyper), document


def make_results(manifest: Manifest, seconds: dict[str, float]) -> Results:
    """What the sequence measured; `bpp_total` counts all bytes but the base, which all sequences share."""
    pixels = sum(entry.width * entry.height for entry in manifest.segments)
    return Results(
        pictures=len(manifest.segments),
        pixels=pixels,
        bytes=manifest.bytes,
        bpp_total=8 * manifest.bytes.total / pixels,
        dose_kind=max((epoch.kind for epoch in manifest.epochs), key=list(DoseKind).index),
        seconds=seconds,
    )


def _entry(coded: Coded, blob: Blob) -> SegmentEntry:
    header = parse_segment(coded.segment).header
    return SegmentEntry(
        n=coded.frame.n,
        epoch=header.epoch,
        name=coded.frame.name,
        width=header.width,
        height=header.height,
        blob=blob.descriptor,
        notes=coded.frame.notes,
    )


def _epoch_entry(number: int, epoch: Epoch, segments: Sequence[SegmentEntry]) -> EpochEntry:
    first = next(entry.n for entry in segments if entry.epoch == number)
    dose = None if epoch.dose is None else Blob(DOSE_TYPE, epoch.dose).descriptor
    return EpochEntry(epoch=number, kind=epoch.kind, dose=dose, first=first, parent=epoch.parent)


def _events(
    segments: Sequence[SegmentEntry], base: Descriptor, epochs: Sequence[EpochEntry]
) -> Iterator[Event]:
    """All that a viewer is told who was there from the start: each epoch before its first segment."""
    begins = {epoch.first: epoch for epoch in epochs}
    told: list[dict[str, object]] = []
    for entry in segments:
        if (epoch := begins.get(entry.n)) is not None:
            fields = {name: getattr(epoch, name) for name in EpochEntry.model_fields}
            told.append({"type": "init", "base": base, **fields})
        told.append({"type": "segment", "epoch": entry.epoch, "segment": entry})
    told.append({"type": "end", "epoch": segments[-1].epoch})
    yield from (Event.model_validate({"seq": seq, **event}) for seq, event in enumerate(told, start=1))


def _count(base: Sequence[Blob], pictures: Sequence[Coded], doses: Sequence[Blob]) -> ByteCounts:
    """Bytes by what they are for; the manifest's own are added once it stands."""
    parsed = [parse_segment(coded.segment) for coded in pictures]
    latents = sum(len(segment.hyper) + len(segment.latents) for segment in parsed)
    return ByteCounts(
        latents=latents,
        dose=sum(len(blob.data) for blob in doses),
        headers=sum(len(coded.segment) for coded in pictures) - latents,
        base=sum(len(blob.data) for blob in base),
    )


def with_own_size(manifest: Manifest) -> Manifest:
    """The manifest with its own length among the header bytes; a longer number may lengthen it once more."""
    framing = manifest.bytes.headers
    while True:
        headers = framing + len(manifest.to_bytes())
        if headers == manifest.bytes.headers:
            return manifest
        counts = manifest.bytes.model_copy(update={"headers": headers})
        manifest = manifest.model_copy(update={"bytes": counts})
