"""A live sequence on the air: what a worker publishes, without the time that coding and distilling take.

coded pictures --station, as a worker does--> disk, Redis --> API, viewers
"""

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import redis

from microdose.base import LoadedBase
from microdose.changes import Add, Change, step_of
from microdose.digest import digest_of
from microdose.dose import Dose, DoseKind, pack_dose
from microdose.resources import Frame, SequenceCreate
from microdose.segment import pack_segment, parse_segment
from microdose_server.jobs import outcome
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.broadcast import Broadcast
from microdose_server.jobs.lease import Lease
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.publication import Coded
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Settings
from microdose_server.store.sequences import Sequences

HELD_S = 3600
"""No worker takes the job over for so long."""
STEP = 72
"""Code of a dose's step: 2^-10."""


class Station:
    """A live sequence of these coded pictures, over and over; epoch 0, without a dose, is on the air.

    blobs: the digests of its segments. announced: when each later epoch was, in seconds since 1970.
    """

    def __init__(
        self, client: redis.Redis, settings: Settings, base: LoadedBase, pictures: Sequence[bytes]
    ) -> None:
        self._base, self._pictures = base, [parse_segment(data) for data in pictures]
        sequences = Sequences(client)
        sequence = sequences.create(SequenceCreate(live=True))
        job = JobQueue(client).enqueue(sequence.id)
        begun = outcome.begin(client, job)
        assert begun is not None
        Lease(client, begun[1], HELD_S).renew()
        report = Reporter(Jobs(client), begun[0], begun[1].token)
        self._broadcast = Broadcast.open(Assignment(client, settings, begun[1], report), sequence, base)
        self.sequence = sequence.id
        self.blobs: list[str] = []
        self.announced: dict[int, float] = {}

    def show(self) -> None:
        """Publish the next picture, in the newest epoch."""
        edition = self._broadcast.edition
        n = edition.next_n
        picture = self._pictures[n % len(self._pictures)]
        epoch = edition.epoch_of(n).epoch
        data = pack_segment(replace(picture, header=replace(picture.header, epoch=epoch)))
        width, height = picture.header.width, picture.header.height
        frame = Frame(n=n, digest=digest_of(data), size=len(data), width=width, height=height)
        self._broadcast.add(Coded(frame, data))
        self.blobs.append(frame.digest)

    def upgrade(self) -> None:
        """Begin an epoch with a dose of its own; the next picture belongs to it."""
        edition = self._broadcast.edition
        epoch = edition.next_epoch
        self._broadcast.begin_epoch(DoseKind.FULL, made_up_dose(self._base, epoch), edition.next_n)
        event = self._broadcast.edition.event
        assert event is not None
        assert event.time is not None
        self.announced[epoch] = event.time / 1000

    def end(self) -> None:
        """No more will come."""
        self._broadcast.end()


def made_up_dose(base: LoadedBase, epoch: int) -> bytes:
    """A dose of small random changes to every weight: none helps, but it costs what a full dose may."""
    noise = np.random.default_rng(epoch)
    changes: list[Change] = []
    for slot, tensor in enumerate(base.document.tensors):
        values = np.rint(noise.laplace(0, 0.2, tensor.shape)).astype(np.int32)
        if values.any():
            changes.append(Add(slot, step_of(STEP), values))
    return pack_dose(Dose(base.prefix, epoch, DoseKind.FULL, tuple(changes)), base)
