"""The manifest: the one small mutable document of a sequence, and the events that announce its changes."""

from collections.abc import Iterator
from itertools import pairwise
from typing import Annotated, Literal

from pydantic import Field, model_validator

from microdose.base import Descriptor
from microdose.document import Document, parse_document
from microdose.dose import MAX_CHAIN, DoseKind
from microdose.errors import UnsupportedVersion
from microdose.ids import EventId, Id
from microdose.segment import MAX_SIDE

MANIFEST_TYPE = "application/vnd.microdose.manifest+json"
BASE_TYPE = "application/vnd.microdose.base+json"
STUDENT_TYPE = "application/vnd.microdose.student+onnx"
HYPER_TYPE = "application/vnd.microdose.hyper+onnx"
SEGMENT_TYPE = "application/vnd.microdose.segment"
DOSE_TYPE = "application/vnd.microdose.dose"

MAX_MANIFEST_BYTES = 16 * 2**20
MAX_EVENT_BYTES = 2**10
MAX_SEGMENTS = 2**16
MAX_EPOCHS = 2**12
PROTOCOL = 1
KINDS = {str(kind) for kind in DoseKind}

Count = Annotated[int, Field(ge=0, le=2**53)]
Side = Annotated[int, Field(ge=1, le=MAX_SIDE)]
Name = Annotated[str, Field(max_length=200)]


class SegmentEntry(Document):
    """One picture: its place in the sequence, the epoch it was coded for, where its segment is."""

    n: Count
    epoch: Count
    name: Name | None = None
    width: Side
    height: Side
    blob: Descriptor
    notes: tuple[Name, ...] = Field(default=(), max_length=16)


class EpochEntry(Document):
    """One dose; `dose` is None where the generic student is used as it is.

    `parent`: the earlier epoch whose weights the dose is a difference to; None: the generic student.
    `first` is the number of the first segment that may belong to it. An epoch of a live sequence is listed
    before that segment comes, so that viewers have its decoder ready.
    """

    epoch: Count
    kind: DoseKind
    dose: Descriptor | None = None
    first: Count = 0
    parent: Count | None = None

    @model_validator(mode="after")
    def _check(self) -> "EpochEntry":
        if self.parent is not None and self.dose is None:
            raise ValueError(f"epoch {self.epoch} has a parent but no dose")
        return self


class ByteCounts(Document):
    """Measured bytes of what a manifest lists. `headers`: framing, picture headers, and the manifest itself.

    `base` is fetched once for all sequences of a teacher and is no part of `total`.
    """

    latents: Count = 0
    dose: Count = 0
    headers: Count = 0
    base: Count = 0

    @property
    def total(self) -> int:
        """Bytes that this sequence alone costs."""
        return self.latents + self.dose + self.headers


class Manifest(Document):
    """Snapshot of a sequence. `version` grows with every change, `seq` with every event.

    A reader who then follows the event stream from `last_event_id` misses nothing and sees nothing twice.
    While a live sequence is not `ended`, more comes; it lists its newest `window` segments only, and the
    epochs that these, or doses to come, need.
    """

    format: Literal["microdose-manifest"] = "microdose-manifest"
    protocol: int = PROTOCOL
    sequence: Id
    name: Name | None = None
    version: Count
    seq: Count
    last_event_id: EventId = "0-0"
    base: Descriptor
    epochs: tuple[EpochEntry, ...] = Field(default=(), max_length=MAX_EPOCHS)
    segments: tuple[SegmentEntry, ...] = Field(default=(), max_length=MAX_SEGMENTS)
    ended: bool = False
    window: int | None = Field(default=None, ge=1, le=MAX_SEGMENTS)
    bytes: ByteCounts = ByteCounts()
    critical: tuple[str, ...] = Field(default=(), max_length=64)

    @model_validator(mode="after")
    def _check(self) -> "Manifest":
        epochs = {entry.epoch for entry in self.epochs}
        if len(epochs) != len(self.epochs):
            raise ValueError("an epoch is listed twice")
        numbers = [entry.n for entry in self.segments]
        if any(low >= high for low, high in pairwise(numbers)):
            raise ValueError("segments must be listed by increasing n")
        for entry in self.segments:
            if entry.epoch not in epochs:
                raise ValueError(f"segment {entry.n} belongs to epoch {entry.epoch}, which is not listed")
        self._check_chains()
        return self

    def _check_chains(self) -> None:
        """Every parent is an earlier epoch with a dose, and no chain of them is too long."""
        depth: dict[int, int] = {}
        for entry in sorted(self.epochs, key=lambda entry: entry.epoch):
            above = 0 if entry.parent is None else depth.get(entry.parent, 0)
            if entry.parent is not None and above == 0:
                raise ValueError(
                    f"epoch {entry.epoch} builds on {entry.parent}, which is no earlier one with a dose"
                )
            if above == MAX_CHAIN:
                raise ValueError(f"epoch {entry.epoch} builds on {above} doses; at most {MAX_CHAIN - 1}")
            depth[entry.epoch] = 0 if entry.dose is None else above + 1

    def epoch(self, epoch: int) -> EpochEntry:
        """The entry of an epoch that one of the segments belongs to."""
        return next(entry for entry in self.epochs if entry.epoch == epoch)

    def doses(self, epoch: int) -> tuple[Descriptor, ...]:
        """The doses of an epoch in the order in which they are applied; empty for the generic student."""
        entry = self.epoch(epoch)
        if entry.dose is None:
            return ()
        return (*(() if entry.parent is None else self.doses(entry.parent)), entry.dose)

    def descriptors(self) -> Iterator[Descriptor]:
        """Every blob the manifest names: base document, doses, segments."""
        yield self.base
        yield from (entry.dose for entry in self.epochs if entry.dose is not None)
        yield from (entry.blob for entry in self.segments)


class Event(Document):
    """One change of a sequence, at most 1 KiB as JSON.

    init: an epoch begins, with segment number `first`; it is told ahead, with all that its entry has.
    segment: the next picture. discontinuity: it does not go on from the one before; `reason` says why.
    end: no more will come. removed: nor can what there was be had any longer.
    `time` is when it was published, in milliseconds since 1970.
    """

    seq: Count
    type: Literal["init", "segment", "discontinuity", "end", "removed"]
    epoch: Count = 0
    segment: SegmentEntry | None = None
    dose: Descriptor | None = None
    parent: Count | None = None
    base: Descriptor | None = None
    kind: DoseKind | None = None
    first: Count | None = None
    reason: Name | None = None
    time: Count | None = None

    def to_bytes(self) -> bytes:
        """Canonical JSON; a segment's name and notes are left to the manifest where they would not fit."""
        data = super().to_bytes()
        if len(data) > MAX_EVENT_BYTES and self.segment is not None:
            brief = self.segment.model_copy(update={"name": None, "notes": ()})
            data = Document.to_bytes(self.model_copy(update={"segment": brief}))
        return data


class _EpochPreamble(Document):
    kind: str


class _Preamble(Document):
    """What must be understood before the rest is looked at."""

    format: Literal["microdose-manifest"]
    protocol: int
    critical: tuple[str, ...] = ()
    epochs: tuple[_EpochPreamble, ...] = ()


def parse_manifest(data: bytes) -> Manifest:
    """A manifest from JSON. Raises CorruptStream (malformed) or UnsupportedVersion (too new).

    Unknown fields are ignored, unless `critical` lists them: then this program cannot play the sequence.
    """
    preamble = parse_document(_Preamble, data, MAX_MANIFEST_BYTES)
    if preamble.protocol != PROTOCOL:
        raise UnsupportedVersion(
            f"manifest of protocol {preamble.protocol}, this program reads {PROTOCOL}: update it"
        )
    unknown = sorted(set(preamble.critical) - set(Manifest.model_fields))
    unknown += [f"doses of kind {kind}" for kind in sorted({each.kind for each in preamble.epochs} - KINDS)]
    if unknown:
        raise UnsupportedVersion(
            f"manifest with {', '.join(unknown)[:200]}, unknown to this program: update it"
        )
    return parse_document(Manifest, data, MAX_MANIFEST_BYTES)
