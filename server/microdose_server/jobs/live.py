"""The work of a live sequence: every frame coded and published when it comes, doses when they pay.

    frames ─► encode, check ─► Broadcast                        first of all, always
                   ├─► ShotDetector ── cut ─► an epoch with the generic student
                   └─► Distiller ── dose ─► an epoch, announced about a second ahead

A worker that takes such a job over goes on after the last published segment, and with the round of
distillation that was under way.
"""

import math
import time
from collections import deque
from collections.abc import Sequence
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from microdose.dose import DoseKind
from microdose.engine import Graph, hyper_from
from microdose.errors import MicrodoseError, NoSpace, NotReproducible
from microdose.latents import decode_picture
from microdose.resources import DoseChoice, Frame
from microdose.resources import Sequence as Wish
from microdose.segment import parse_segment
from microdose_server.distil.overfit import OverfitRecipe
from microdose_server.distil.shots import ShotDetector
from microdose_server.intake.picture import read_picture
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.broadcast import Broadcast
from microdose_server.jobs.checkpoints import Checkpoints
from microdose_server.jobs.distiller import Digests, Distil, Distiller, Next, Seen, log
from microdose_server.jobs.publication import Coded
from microdose_server.jobs.rounds import Rounds, Teacher, unfinished
from microdose_server.jobs.verify import Verifier
from microdose_server.store import arrivals
from microdose_server.store.redis import patiently
from microdose_server.store.shelf import checkpoints, originals

POLL_S = 0.05
GAP_S = 2.0
"""How long a missing number is waited for once a later one is there."""
LEAD_S = 1.0
"""How long before its first segment an epoch is announced: time to fetch a dose and to build a decoder."""
MAX_LEAD = 30
REPORT_S = 5.0


class LiveEncoder(Teacher, Protocol):
    """What codes pictures for a base, and decodes them with the teacher; in a worker, `Encoder`."""

    def analyse(self, pixels: NDArray[np.uint8], epoch: int = 0) -> tuple[bytes, NDArray[np.float32]]:
        """The segment of a picture, uint8[H,W,3], and its y_hat."""


def stream(
    given: Assignment,
    wish: Wish,
    encoder: LiveEncoder,
    distil: Distil | None = None,
    recipe: OverfitRecipe | None = None,
) -> None:
    """Publish a live sequence to its end, with doses by `distil`, or rounds by the recipe.

    Raises Fenced when it must stop.
    """
    settings, broadcast = given.settings, Broadcast.open(given, wish, encoder.base)
    if broadcast.edition.listed:
        broadcast.interrupt("another worker goes on")
    given.report.phase("live")
    with Checkpoints(given.client, given.attempt, checkpoints(settings), settings.checkpoint_s) as kept:
        begun = kept.load()
        with Distiller(distil or Rounds(settings, wish, encoder, kept, begun, recipe)) as distiller:
            live = Live(given, broadcast, encoder, distiller, wish.dose is not DoseChoice.NONE)
            live.resume(*unfinished(begun, broadcast.edition.next_epoch))
            live.run()
        kept.discard()


class Live:
    """One attempt at a live sequence."""

    def __init__(
        self,
        given: Assignment,
        broadcast: Broadcast,
        encoder: LiveEncoder,
        distiller: Distiller,
        dosed: bool,
    ) -> None:
        self._given, self._broadcast, self._encoder = given, broadcast, encoder
        self._distiller, self._dosed = distiller, dosed
        self._shots = ShotDetector()
        self._hyper = hyper_from(Graph(encoder.base.hyper))
        self._originals = originals(given.settings)
        self._times: deque[float] = deque(maxlen=8)
        self._gap_since: float | None = None
        self._told = 0.0
        self._last: tuple[Coded, NDArray[np.float32]] | None = None

    def resume(self, published: Sequence[Digests], count: int) -> None:
        """Go on with the round of distillation on these of `count` published pictures, if there is one."""
        try:
            pictures = [self._seen(digests) for digests in published]
        except MicrodoseError as error:
            log.warning("a round of distillation begins anew: %s", error)
        else:
            if pictures:
                self._distiller.resume(pictures, count, self._next())

    def run(self) -> None:
        """Until the publisher has completed the sequence, or is silent for too long."""
        patience_s = self._given.settings.live_idle_s
        silent_since = time.monotonic()
        while True:
            self._announce()
            arrived = self._look()
            if arrived.first:
                self._publish(arrived.first)
                silent_since = time.monotonic()
            elif arrived.complete:
                return self._broadcast.end()
            elif time.monotonic() - silent_since > patience_s:
                return self._broadcast.end(f"no picture came for {patience_s:g} s")
            else:
                time.sleep(POLL_S)
            self._report()

    def _look(self) -> arrivals.Arrived:
        """What has arrived; a picture that others should come before is there once they were waited for."""
        given, next_n = self._given, self._broadcast.edition.next_n
        found = patiently(lambda: arrivals.look(given.client, given.attempt.sequence, next_n))
        if found.first is None or found.first.n == next_n or found.complete:
            self._gap_since = None
            return found
        self._gap_since = self._gap_since or time.monotonic()
        if time.monotonic() - self._gap_since < GAP_S:
            return arrivals.Arrived(None, False)
        self._gap_since = None
        return found

    def _report(self) -> None:
        if time.monotonic() - self._told > REPORT_S:
            self._told, past = time.monotonic(), self._broadcast.edition.past
            self._given.report.step(past.pictures if past else 0, steps=2**53)

    def _publish(self, frame: Frame) -> None:
        """Code one picture and publish it, what has to be said before it first."""
        broadcast = self._broadcast
        pixels = read_picture(self._originals.get(frame.digest), self._given.settings.limits).pixels
        if broadcast.edition.listed and frame.n > broadcast.edition.next_n:
            broadcast.interrupt(f"pictures {broadcast.edition.next_n} to {frame.n - 1} did not come")
        if self._shots.is_cut(pixels) and self._dosed:
            self._distiller.cut()
            broadcast.begin_epoch(DoseKind.NONE, None, frame.n)
        segment, y_hat = self._encoder.analyse(pixels, broadcast.edition.epoch_of(frame.n).epoch)
        if not np.array_equal(decode_picture(parse_segment(segment), self._encoder.base, self._hyper), y_hat):
            raise NotReproducible(f"picture {frame.n} does not decode to what was coded; try another worker")
        coded = Coded(frame, segment)
        broadcast.add(coded)
        self._times.append(time.monotonic())
        self._last = coded, y_hat
        if self._dosed:
            digests = Digests(broadcast.edition.listed[-1].entry.blob.digest, frame.digest)
            self._distiller.see(Seen(digests, y_hat, frame.height, frame.width), self._next())

    def _seen(self, digests: Digests) -> Seen:
        """A published picture, as it was when it was coded."""
        segment = parse_segment(self._broadcast.segment(digests.segment))
        y_hat = decode_picture(segment, self._encoder.base, self._hyper)
        return Seen(digests, y_hat, segment.header.height, segment.header.width)

    def _next(self) -> Next:
        """What a dose would be that was found now."""
        broadcast, edition = self._broadcast, self._broadcast.edition
        newest = max(entry.epoch for entry in edition.manifest.epochs)
        starts = {start: broadcast.doses(start) for start in edition.starts}
        return Next(edition.next_epoch, starts, broadcast.doses(newest))

    def _announce(self) -> None:
        """Begin an epoch where the distiller has a dose that viewers can use."""
        made = self._distiller.take()
        if made is None or (dose := made.dosed.dose) is None or self._last is None:
            return
        broadcast = self._broadcast
        if made.parent not in broadcast.edition.starts:
            log.warning("epoch %s has left the window, and a dose that builds on it with it", made.parent)
            return
        coded, y_hat = self._last
        try:
            verifier = Verifier(self._encoder.base, *broadcast.doses(made.parent), dose)
            verifier.check(coded.frame.n, coded.segment, y_hat)
        except MicrodoseError:
            log.exception("a dose is not fit for viewers")
            return
        first = broadcast.edition.next_n + self._lead()
        try:
            broadcast.begin_epoch(made.dosed.kind, dose, first, made.parent)
        except NoSpace as error:
            log.warning("the stream goes on without a dose: %s", error)

    def _lead(self) -> int:
        """How many more pictures come within LEAD_S, going by the last few; at least one."""
        if len(self._times) < 2:
            return 1
        interval = (self._times[-1] - self._times[0]) / (len(self._times) - 1)
        return max(1, min(MAX_LEAD, math.ceil(LEAD_S / max(interval, 1e-3))))
