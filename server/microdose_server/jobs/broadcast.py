"""Publishing a live sequence piece by piece: each step is whole, or not there at all.

blobs --> disk, hot copies --> one script: manifest, event, record of the sequence
                                      |
          who was cut off goes on from what this left: nothing is published twice
"""

from microdose.base import LoadedBase
from microdose.dose import DoseKind
from microdose.errors import CorruptStream
from microdose.manifest import DOSE_TYPE, SEGMENT_TYPE, EpochEntry, Manifest, parse_manifest
from microdose.resources import Sequence, SequenceState
from microdose.segment import parse_segment
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.edition import Edition, Listed, now_ms
from microdose_server.jobs.publication import Blob, Coded, base_blobs
from microdose_server.store import arrivals
from microdose_server.store.bus import append, cool_hot_blob, put_hot_blob, read_manifest
from microdose_server.store.fields import to_field
from microdose_server.store.redis import Fields, patiently
from microdose_server.store.shelf import Shelf, live_blobs, public_blobs

COOL_S = 60
"""How long Redis keeps a segment's copy after the manifest dropped it."""


class Broadcast:
    """What an attempt publishes of a live sequence; methods raise Fenced once another has taken over."""

    def __init__(self, given: Assignment, edition: Edition) -> None:
        self.edition = edition
        self._given = given
        self._store = live_blobs(given.settings)
        self._spare = public_blobs(given.settings)  # for doses, which the stream can do without
        self._doses: dict[str, bytes] = {}

    @classmethod
    def open(cls, given: Assignment, sequence: Sequence, base: LoadedBase) -> "Broadcast":
        """Begin a sequence, with the generic student as epoch 0, or go on with what is published.

        Raises CorruptStream where that was made for another base.
        """
        data = patiently(lambda: read_manifest(given.client, sequence.id))
        if data is None:
            broadcast = cls(
                given, Edition.empty(sequence.id, sequence.name, base, given.settings.live_window)
            )
            for blob in base_blobs(base):
                broadcast._keep(blob, broadcast._store)
            broadcast.begin_epoch(DoseKind.NONE, None, 0)
            return broadcast
        if (published := parse_manifest(data)).base.digest != base.digest:
            raise CorruptStream(f"sequence {sequence.id} began with another base: {published.base.digest}")
        return cls(given, _resumed(published, sequence, public_blobs(given.settings)))

    def begin_epoch(self, kind: DoseKind, dose: bytes | None, first: int, parent: int | None = None) -> None:
        """Announce an epoch from segment number `first` on. Raises NoSpace where a dose has no room."""
        blob = Blob(DOSE_TYPE, dose) if dose is not None else None
        if blob:
            self._keep(blob, self._spare)
            listed = {entry.dose.digest for entry in self.edition.manifest.epochs if entry.dose}
            self._doses = {digest: data for digest, data in self._doses.items() if digest in listed}
        entry = EpochEntry(
            epoch=self.edition.next_epoch,
            kind=kind,
            dose=blob.descriptor if blob else None,
            parent=parent,
            first=first,
        )
        self._issue(self.edition.begin_epoch(entry, now_ms()))

    def doses(self, epoch: int | None) -> tuple[bytes, ...]:
        """The chain of doses of an epoch, the oldest first; none of the generic student."""
        chain = () if epoch is None else self.edition.manifest.doses(epoch)
        for dose in chain:
            if dose.digest not in self._doses:
                self._doses[dose.digest] = self._store.get(dose.digest)
        return tuple(self._doses[dose.digest] for dose in chain)

    def segment(self, digest: str) -> bytes:
        """A segment that was published. Raises NotFound where it is gone: it may have left the window."""
        return self._store.get(digest)

    def add(self, coded: Coded) -> None:
        """Publish the next segment."""
        self._keep(Blob(SEGMENT_TYPE, coded.segment), self._store)
        before = self.edition
        self._issue(before.add(Listed.of(coded), now_ms()))
        dropped = before.listed[: len(before.listed) + 1 - len(self.edition.listed)]
        if dropped:
            patiently(lambda: self._drop(dropped))

    def interrupt(self, reason: str) -> None:
        """Say that the next picture does not go on from the last."""
        self._issue(self.edition.interrupt(reason, now_ms()))

    def end(self, reason: str | None = None) -> None:
        """Say that no more will come; the sequence is then published."""
        self._issue(
            self.edition.end(reason, now_ms()), {"state": to_field(SequenceState.PUBLISHED), "error": "null"}
        )

    def _issue(self, edition: Edition, more: Fields | None = None) -> None:
        given, results = self._given, edition.results
        if results:
            results = results.model_copy(update={"seconds": given.report.seconds})
        record: Fields = {"done": edition.next_n, "results": to_field(results), **(more or {})}
        assert edition.event is not None
        events = [edition.event]
        patiently(lambda: append(given.client, given.attempt, edition.manifest, events, record))
        self.edition = edition

    def _keep(self, blob: Blob, shelf: Shelf) -> None:
        digest, seconds = shelf.put(blob.data), self._given.settings.hot_seconds
        patiently(
            lambda: put_hot_blob(self._given.client, digest, blob.data, blob.media_type, seconds=seconds)
        )

    def _drop(self, dropped: tuple[Listed, ...]) -> None:
        for one in dropped:
            cool_hot_blob(self._given.client, one.entry.blob.digest, one.entry.blob.size, seconds=COOL_S)
        numbers = [one.entry.n for one in dropped]
        arrivals.forget(self._given.client, self._given.attempt.sequence, numbers)


def _resumed(manifest: Manifest, sequence: Sequence, store: Shelf) -> Edition:
    def listed(number: int) -> Listed:
        entry = manifest.segments[number]
        segment = parse_segment(store.get(entry.blob.digest))
        return Listed(entry, len(segment.hyper) + len(segment.latents))

    past = sequence.results
    if past:
        headers = past.bytes.headers - len(manifest.to_bytes())
        past = past.model_copy(update={"bytes": past.bytes.model_copy(update={"headers": headers})})
    return Edition(manifest, tuple(map(listed, range(len(manifest.segments)))), past)
