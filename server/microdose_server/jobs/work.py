"""The work of one job. torch is loaded here, and what it takes is given back when the process ends.

load -> encode every picture -> distil a dose for each shot -> refine latents for it, if that is wished
                                                                       |
                    publish in one atomic step <- blobs <- verify by decoding

Nobody sees anything of a job before that step.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

from microdose import resources
from microdose.base import LoadedBase
from microdose.resources import DoseChoice
from microdose_server.codec.encode import Encoder, load_encoder
from microdose_server.codec.shipped import load_discriminator
from microdose_server.distil.checkpoint import Keeper
from microdose_server.distil.overfit import OverfitRecipe
from microdose_server.distil.plan import shorter
from microdose_server.distil.shots import ShotDetector, shots_of
from microdose_server.distil.targets import keep_refined, keep_target
from microdose_server.distil.tiles import Target
from microdose_server.intake.picture import read_picture
from microdose_server.jobs.aiming import PictureEncoder, aim, needs_painting
from microdose_server.jobs.attempt import Assignment, make_attempt
from microdose_server.jobs.checkpoints import Checkpoints
from microdose_server.jobs.distillation import Distillation
from microdose_server.jobs.dosing import Allowance, dose_shots, pixels_of
from microdose_server.jobs.drafts import Drafts
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.live import stream
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.publication import (
    Coded,
    Epoch,
    Publication,
    doses_of,
    make_publication,
    make_results,
)
from microdose_server.jobs.refining import Refining
from microdose_server.jobs.scratch import scratch
from microdose_server.jobs.verify import Verifier
from microdose_server.settings import Settings
from microdose_server.store.bus import publish, put_hot_blob
from microdose_server.store.redis import patiently
from microdose_server.store.sequences import Sequences
from microdose_server.store.shelf import checkpoints, originals, public_blobs
from microdose_server.training.denormal import flushed_denormals


@dataclass(frozen=True, slots=True)
class EncodedPicture:
    """A coded picture, and what a dose aims at for it: on disk, for there may be many.

    cut: whether a shot begins with it.
    """

    coded: Coded
    target: Target
    cut: bool


@flushed_denormals()
def run(errand: Errand) -> None:
    """Do a job to its end; the horse's entry, by name. Raises as `make_attempt`."""
    make_attempt(errand, lambda given: work(given, encoder_for(given), recipe_for(given.settings)))


def encoder_for(given: Assignment) -> Encoder:
    """The shipped teacher with the base of the sequence's profile.

    Raises NotFound where none ships, DigestMismatch for one of another teacher.
    """
    profile = Sequences(given.client).get(given.attempt.sequence).profile
    return load_encoder(given.settings.device, student=profile)


def recipe_for(settings: Settings) -> OverfitRecipe:
    """How doses are trained here. Raises NotFound for a beta where the teacher has no discriminator."""
    beta = settings.distil_beta
    return OverfitRecipe(beta=beta, discriminator=load_discriminator() if beta > 0.0 else None)


def work(given: Assignment, encoder: Encoder, recipe: OverfitRecipe | None = None) -> None:
    """The work on a sequence, live or not. Raises Fenced when it must stop."""
    sequence = Sequences(given.client).get(given.attempt.sequence)
    if sequence.live:
        stream(given, sequence, encoder, recipe=recipe)
    else:
        process(given, encoder, recipe)


def process(given: Assignment, encoder: PictureEncoder, recipe: OverfitRecipe | None = None) -> None:
    """Everything between uploaded pictures and a published sequence. Raises Fenced when it must stop."""
    settings, report = given.settings, given.report
    sequence = Sequences(given.client).get(given.attempt.sequence)
    with (
        Checkpoints(given.client, given.attempt, checkpoints(settings), settings.checkpoint_s) as run,
        scratch(settings.data_dir) as folder,
    ):
        pictures = list(encode(given, sequence, encoder, folder))
        pictures, epochs = distil(settings, pictures, encoder, report, sequence, run, recipe)
        if sequence.refine is not None:
            refining = Refining(given, encoder, sequence.refine)
            pictures = list(refine(given, pictures, epochs, refining, folder))
        verify(pictures, encoder, epochs, report)
        publish_all(given, sequence, encoder.base, [picture.coded for picture in pictures], epochs)
        run.discard()


def encode(
    given: Assignment, wish: resources.Sequence, encoder: PictureEncoder, folder: Path
) -> Iterator[EncodedPicture]:
    """Every original read again, and coded once, unless an earlier attempt has done that.

    What a dose aims at for it is kept in `folder`. Raises Fenced when it must stop.
    """
    shelf, painted, report = originals(given.settings), needs_painting(wish), given.report
    drafts = Drafts(given.client, given.attempt, encoder.base, shelf)
    frames = Sequences(given.client).frames(wish.id)
    report.phase("encode", len(frames))
    shots = ShotDetector()
    for done, frame in enumerate(frames, start=1):
        pixels = read_picture(shelf.get(frame.digest), given.settings.limits).pixels
        found = drafts.find(frame)
        segment, y_hat = found or encoder.analyse(pixels)
        if found is None:
            drafts.keep(frame, segment)
        aimed = aim(encoder, y_hat, pixels, painted)
        target = keep_target(folder, frame.n, aimed, given.settings.reserve_bytes)
        yield EncodedPicture(Coded(frame, segment), target, shots.is_cut(pixels))
        report.step(done)


def distil(
    settings: Settings,
    pictures: Sequence[EncodedPicture],
    encoder: PictureEncoder,
    report: Reporter,
    wish: resources.Sequence,
    keeper: Keeper,
    recipe: OverfitRecipe | None = None,
) -> tuple[list[EncodedPicture], list[Epoch]]:
    """A dose for each shot: the pictures in their epochs."""
    report.phase("distil", settings.distil_steps)
    shots = (
        [range(len(pictures))] if wish.dose is DoseChoice.NONE else shots_of([one.cut for one in pictures])
    )
    targets = [[pictures[n].target for n in shot] for shot in shots]
    pixels = sum(map(pixels_of, targets))
    seconds = shorter(settings.distil_seconds, wish.dose_seconds)
    allowance = Allowance(pixels, settings.distil_steps, seconds, wish.dose_bytes)
    distillation = Distillation(settings, encoder.base, report, wish, keeper, recipe)
    found = dose_shots(targets, allowance, distillation)
    if wish.refine is not None:
        distillation.keep()
    placed = [
        replace(pictures[n], coded=pictures[n].coded.in_epoch(epoch))
        for shot, epoch in zip(shots, found.of_shots, strict=True)
        for n in shot
    ]
    return placed, found.epochs


def refine(
    given: Assignment,
    pictures: Sequence[EncodedPicture],
    epochs: Sequence[Epoch],
    refining: Refining,
    folder: Path,
) -> Iterator[EncodedPicture]:
    """Every picture with latents moved for the student that will show it. Raises Fenced when it must stop."""
    given.report.phase("refine", len(pictures))
    for done, picture in enumerate(pictures, start=1):
        doses = doses_of(epochs, picture.coded.epoch)
        alive = partial(given.report.step, done - 1)  # a picture of many steps must not look like a stall
        coded, y_hat = refining.picture(picture.coded, picture.target.pixels, doses, alive)
        target = keep_refined(folder, coded.frame.n, picture.target, y_hat, given.settings.reserve_bytes)
        yield replace(picture, coded=coded, target=target)
        given.report.step(done)


def verify(
    pictures: Sequence[EncodedPicture], encoder: PictureEncoder, epochs: Sequence[Epoch], report: Reporter
) -> None:
    """Decode every segment as a viewer will. Raises NotReproducible or CorruptStream."""
    report.phase("verify", len(pictures))
    verifier = number = None
    for done, picture in enumerate(pictures, start=1):
        if (epoch := picture.coded.epoch) != number or verifier is None:
            verifier, number = Verifier(encoder.base, *doses_of(epochs, epoch)), epoch
        verifier.check(picture.coded.frame.n, picture.coded.segment, picture.target.y_hat)
        report.step(done)


def publish_all(
    given: Assignment,
    sequence: resources.Sequence,
    base: LoadedBase,
    coded: Sequence[Coded],
    epochs: Sequence[Epoch],
) -> None:
    """Every blob first, then all that names them in one step. Raises Fenced."""
    made = make_publication(sequence.id, sequence.name, base, coded, epochs)
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
