"""The work of one job. torch is loaded here, and what it takes is given back when the process ends.

load -> encode every picture -> distil a dose -> verify by decoding -> blobs -> publish
                                                                                   |
                nobody sees anything of a job before this one atomic step ---------+
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microdose import resources
from microdose.base import LoadedBase
from microdose.resources import Frame
from microdose_server.codec.encode import Encoded, Encoder
from microdose_server.codec.folder import load_base
from microdose_server.distil.checkpoint import Keeper
from microdose_server.distil.specialise import Budget, Dosed, Progress, Target, specialise
from microdose_server.distil.targets import keep_target
from microdose_server.intake.picture import read_picture
from microdose_server.jobs.attempt import Assignment, make_attempt
from microdose_server.jobs.checkpoints import Checkpoints
from microdose_server.jobs.drafts import Drafts
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.live import stream
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.publication import EPOCH, Coded, Publication, make_publication, make_results
from microdose_server.jobs.scratch import scratch
from microdose_server.jobs.verify import Verifier
from microdose_server.settings import Settings
from microdose_server.store.bus import publish, put_hot_blob
from microdose_server.store.redis import patiently
from microdose_server.store.sequences import Sequences
from microdose_server.store.shelf import Shelf, checkpoints, originals, public_blobs


class PictureEncoder(Protocol):
    """What codes pictures for a base; in a worker, the shipped teacher's `Encoder`."""

    @property
    def base(self) -> LoadedBase:
        """The base that its segments are for."""

    def encode(self, pixels: NDArray[np.uint8], epoch: int = 0) -> Encoded:
        """The segment of a picture, uint8[H,W,3], and what the distillation needs."""


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A coded picture, and what a dose aims at for it: on disk, for pictures may be many."""

    coded: Coded
    target: Target


def run(errand: Errand) -> None:
    """Do a job to its end; the horse's entry, by name. Raises as `make_attempt`."""
    make_attempt(errand, lambda assignment: work(assignment, encoder_for(assignment)))


def encoder_for(given: Assignment) -> Encoder:
    """The shipped teacher with the base of the sequence's profile. Raises NotFound where it does not ship."""
    profile = Sequences(given.client).get(given.attempt.sequence).profile
    return Encoder(given.settings.device, base=load_base(student=profile))


def work(given: Assignment, encoder: Encoder) -> None:
    """The work on a sequence, live or not. Raises Fenced when it must stop."""
    sequence = Sequences(given.client).get(given.attempt.sequence)
    if sequence.live:
        stream(given, sequence, encoder)
    else:
        process(given, encoder)


def process(given: Assignment, encoder: PictureEncoder) -> None:
    """Everything between uploaded pictures and a published sequence. Raises Fenced when it must stop."""
    sequences, settings, report = Sequences(given.client), given.settings, given.report
    sequence = sequences.get(given.attempt.sequence)
    shelf = originals(settings)
    drafts = Drafts(given.client, given.attempt, encoder.base, shelf)
    with (
        Checkpoints(given.client, given.attempt, checkpoints(settings), settings.checkpoint_s) as run,
        scratch(settings.data_dir) as folder,
    ):
        frames = sequences.frames(sequence.id)
        pictures = list(encode(settings, frames, encoder, shelf, drafts, folder, report))
        dosed = distil(settings, pictures, encoder, report, sequence, run)
        verify(pictures, encoder, dosed, report)
        publish_all(given, sequence, encoder.base, [picture.coded for picture in pictures], dosed)
        run.discard()


def encode(
    settings: Settings,
    frames: Sequence[Frame],
    encoder: PictureEncoder,
    shelf: Shelf,
    drafts: Drafts,
    folder: Path,
    report: Reporter,
) -> Iterator[EncodedPicture]:
    """Every original read again, and through the teacher once, unless an earlier attempt has done that."""
    report.phase("encode", len(frames))
    for done, frame in enumerate(frames, start=1):
        encoded = drafts.find(frame)
        if encoded is None:
            picture = read_picture(shelf.get(frame.digest), settings.limits)
            encoded = encoder.encode(picture.pixels, epoch=EPOCH)
            drafts.keep(frame, encoded)
        yield EncodedPicture(Coded(frame, encoded.segment), keep_target(folder, frame.n, encoded))
        report.step(done)


def distil(
    settings: Settings,
    pictures: Sequence[EncodedPicture],
    encoder: PictureEncoder,
    report: Reporter,
    wish: resources.Sequence,
    keeper: Keeper,
) -> Dosed:
    """The dose for these pictures, the teacher's own output being the target."""
    report.phase("distil", settings.distil_steps)

    def tell(progress: Progress) -> None:
        report.step(progress.step, progress.loss, progress.psnr, steps=progress.steps)

    return specialise(
        encoder.base,
        [picture.target for picture in pictures],
        choice=wish.dose,
        lmbda=wish.lmbda,
        budget=Budget(settings.distil_steps, shorter(settings.distil_seconds, wish.dose_seconds)),
        epoch=EPOCH,
        report=tell,
        device=settings.device,
        most_bytes=wish.dose_bytes,
        keeper=keeper,
    )


def shorter(one: float | None, other: float | None) -> float | None:
    """The least of two limits, either of which may be missing."""
    given = [limit for limit in (one, other) if limit is not None]
    return min(given) if given else None


def verify(
    pictures: Sequence[EncodedPicture], encoder: PictureEncoder, dosed: Dosed, report: Reporter
) -> None:
    """Decode every segment as a viewer will. Raises NotReproducible or CorruptStream."""
    report.phase("verify", len(pictures))
    verifier = Verifier(encoder.base, *([] if dosed.dose is None else [dosed.dose]))
    for done, picture in enumerate(pictures, start=1):
        verifier.check(picture.coded.frame.n, picture.coded.segment, picture.target.y_hat)
        report.step(done)


def publish_all(
    given: Assignment,
    sequence: resources.Sequence,
    base: LoadedBase,
    coded: Sequence[Coded],
    dosed: Dosed,
) -> None:
    """Every blob first, then all that names them in one step. Raises Fenced."""
    made = make_publication(sequence.id, sequence.name, base, coded, dosed.dose, dosed.kind)
    keep(given, made)
    results = make_results(made.manifest, given.report.seconds)
    patiently(lambda: publish(given.client, given.attempt, made.manifest, made.events, results))


def keep(given: Assignment, publication: Publication) -> None:
    """Every blob on disk, then its hot copy in Redis."""
    given.report.phase("publish", len(publication.blobs))
    store, seconds = public_blobs(given.settings), given.settings.hot_seconds
    for done, blob in enumerate(publication.blobs, start=1):
        digest = store.put(blob.data)
        copy = partial(put_hot_blob, given.client, digest, blob.data, blob.media_type, seconds=seconds)
        patiently(copy)
        given.report.step(done)
