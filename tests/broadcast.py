"""A live sequence, published step by step as docs/protocol.md says, in a real Valkey and a blob store."""

from typing import Any

import numpy as np
import redis
from numpy.typing import NDArray

from microdose import keys
from microdose import manifest as m
from microdose.base import Descriptor, LoadedBase
from microdose.decoder import Decoder
from microdose.dose import DoseKind
from microdose.resources import SequenceCreate
from microdose_server.store.blobs import BlobStore
from microdose_server.store.bus import put_hot_blob
from microdose_server.store.sequences import Sequences
from tests.tiny_base import describe, tiny_base, tiny_dose, tiny_segment


def on_the_air(bus: redis.Redis, blobs: BlobStore) -> "Broadcast":
    """A live sequence with its first picture."""
    live = Broadcast(bus, blobs)
    live.epoch()
    live.picture()
    return live


class Broadcast:
    """`manifest` is what is published now; `epoch`, `picture` and `say` add to it, each with its event."""

    def __init__(
        self, bus: redis.Redis, blobs: BlobStore, window: int | None = None, base: LoadedBase | None = None
    ) -> None:
        self._bus, self._blobs = bus, blobs
        self.base = base or tiny_base()
        self.segments: list[bytes] = []
        self.doses: dict[int, tuple[bytes, ...]] = {}
        document = self.base.document.to_bytes()
        for data in (document, self.base.student, self.base.hyper):
            self._put(data, "application/octet-stream")
        self.manifest = m.Manifest(
            sequence=Sequences(bus).create(SequenceCreate(live=True)).id,
            version=0,
            seq=0,
            base=describe(document, m.BASE_TYPE),
            window=window,
        )

    def connect(self, bus: redis.Redis) -> None:
        """Publish through another connection from now on."""
        self._bus = bus

    @property
    def sequence(self) -> str:
        return self.manifest.sequence

    def epoch(
        self, parent: int | None = None, dosed: bool = True, made_for: int | None = None
    ) -> m.EpochEntry:
        """Announce the next epoch, of a dose of its own, or one `made_for` another."""
        epoch, above = len(self.doses), self.doses.get(parent, ()) if parent is not None else ()
        number = epoch if made_for is None else made_for
        data = tiny_dose(self.base, number, seed=epoch, parent=above[-1] if above else None)
        self.doses[epoch] = (*above, data) if dosed else ()
        dose = self._put(data, m.DOSE_TYPE) if dosed else None
        kind = DoseKind.FULL if dosed else DoseKind.NONE
        entry = m.EpochEntry(epoch=epoch, kind=kind, dose=dose, parent=parent, first=len(self.segments))
        self._publish(
            {"epochs": (*self.manifest.epochs, entry)},
            type="init",
            epoch=epoch,
            base=self.manifest.base,
            dose=dose,
            parent=parent,
            kind=kind,
            first=entry.first,
        )
        return entry

    def picture(self, log: bool = True, lost: bool = False, coded_for: int | None = None) -> m.SegmentEntry:
        """Publish the next picture in the newest epoch.

        Without `log` its event is lost, with `lost` its bytes; `coded_for`: its header names another epoch.
        """
        n, epoch = len(self.segments), max(self.doses)
        data = tiny_segment(self.base, 40, 24, epoch if coded_for is None else coded_for, seed=n)
        self.segments.append(data)
        blob = describe(data, m.SEGMENT_TYPE) if lost else self._put(data, m.SEGMENT_TYPE)
        entry = m.SegmentEntry(n=n, epoch=epoch, width=40, height=24, blob=blob)
        listed = (*self.manifest.segments, entry)[-(self.manifest.window or m.MAX_SEGMENTS) :]
        self._publish({"segments": listed}, log, type="segment", epoch=epoch, segment=entry, time=1000 + n)
        return entry

    def say(self, type: str, **fields: Any) -> None:
        """Publish an event of another type."""
        self._publish({"ended": type == "end"}, type=type, **fields)

    def remove(self) -> None:
        """Leave nothing but the last event."""
        self.say("removed")
        self._bus.delete(keys.manifest(self.sequence))
        self._bus.xtrim(keys.events(self.sequence), maxlen=1, approximate=False)

    def expected(self, n: int) -> NDArray[np.uint8]:
        """The pixels of picture `n`, by the decoder of its epoch."""
        entry = next(entry for entry in self.manifest.segments if entry.n == n)
        return Decoder(self.base, *self.doses[entry.epoch], threads=1).decode(self.segments[n]).pixels

    def _publish(self, changes: dict[str, Any], log: bool = True, **event: Any) -> None:
        seq = self.manifest.seq + 1
        weight = m.ByteCounts(headers=10**6)
        fresh = {"seq": seq, "version": seq, "last_event_id": f"{seq}-0", "bytes": weight}
        self.manifest = self.manifest.model_copy(update=changes | fresh)
        with self._bus.pipeline(transaction=True) as pipeline:
            if log:
                data = m.Event(seq=seq, **event).to_bytes()
                pipeline.xadd(keys.events(self.sequence), {"event": data}, id=f"{seq}-0")
            pipeline.set(keys.manifest(self.sequence), self.manifest.to_bytes())
            pipeline.execute()

    def _put(self, data: bytes, media_type: str) -> Descriptor:
        described = describe(data, media_type)
        self._blobs.put(data)
        put_hot_blob(self._bus, described.digest, data, media_type, seconds=600)
        return described
