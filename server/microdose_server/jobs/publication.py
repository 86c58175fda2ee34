"""What a finished job publishes, as plain values: manifest, events, results. Pure: `work` writes them."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

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
from microdose.segment import parse_segment
from microdose_server.store.bus import event_id

EPOCH = 0
"""The one epoch that a sequence has so far."""


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
    dose: bytes | None,
    kind: DoseKind,
) -> Publication:
    """The publication of coded pictures, in order, under one dose (None: the generic student)."""
    of_base = base_blobs(base)
    document = of_base[-1]
    segments = [Blob(SEGMENT_TYPE, coded.segment) for coded in pictures]
    doses = [Blob(DOSE_TYPE, dose)] if dose is not None else []
    dosed = doses[0].descriptor if doses else None
    entries = tuple(_entry(coded, blob) for coded, blob in zip(pictures, segments, strict=True))
    events = tuple(_events(entries, document.descriptor, dosed))
    manifest = Manifest(
        sequence=sequence,
        name=name,
        version=1,
        seq=len(events),
        last_event_id=event_id(len(events)),
        base=document.descriptor,
        epochs=(EpochEntry(epoch=EPOCH, kind=kind, dose=dosed),),
        segments=entries,
        ended=True,
        bytes=_count(of_base, pictures, dose),
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
        dose_kind=manifest.epochs[-1].kind,
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


def _events(entries: Sequence[SegmentEntry], base: Descriptor, dose: Descriptor | None) -> Iterator[Event]:
    yield Event(seq=1, type="init", epoch=EPOCH, base=base, dose=dose)
    for seq, entry in enumerate(entries, start=2):
        yield Event(seq=seq, type="segment", epoch=entry.epoch, segment=entry)
    yield Event(seq=len(entries) + 2, type="end", epoch=EPOCH)


def _count(base: Sequence[Blob], pictures: Sequence[Coded], dose: bytes | None) -> ByteCounts:
    """Bytes by what they are for; the manifest's own are added once it stands."""
    parsed = [parse_segment(coded.segment) for coded in pictures]
    latents = sum(len(segment.hyper) + len(segment.latents) for segment in parsed)
    return ByteCounts(
        latents=latents,
        dose=len(dose or b""),
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
