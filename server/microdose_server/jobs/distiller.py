"""Distilling beside the encoder of a live sequence, so that no picture waits for a dose.

pictures of a shot --see--> a spread of them --round--> distil (a thread of low priority) --take--> dose
                                               |
                after 4 pictures, 16, 64, ...--+       a cut forgets all of it
"""

import logging
import math
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from microdose_server.distil.specialise import Dosed, Progress

FIRST_ROUND = 4
GROWTH = 4
"""A shot is distilled again when it is so many times as long: it will last as long again, and pay."""
KEPT = 32
"""Pictures of a shot that are learned from, spread evenly over it."""
BETTER = 0.97
"""What a later round must leave of the distortion that viewers have, to be worth a new decoder."""
NICENESS = 5

log = logging.getLogger(__name__)


class Digests(NamedTuple):
    """Where a published picture is found again: its segment, and the frame that it was coded from."""

    segment: str
    original: str


@dataclass(frozen=True, slots=True, eq=False)
class Seen:
    """A coded picture: its digests, y_hat float32 [C, h, w] of height x width pixels."""

    digests: Digests
    y_hat: NDArray[np.float32]
    height: int
    width: int


@dataclass(frozen=True, slots=True)
class Next:
    """The epoch that a dose would be, the chains of doses that it may build on, by their epochs (None: none),
    and the chain that viewers have now.
    """

    epoch: int
    starts: Mapping[int | None, tuple[bytes, ...]]
    shown: tuple[bytes, ...]


class Made(NamedTuple):
    """What a round has found: the epoch that it builds on, and the share that it leaves of the distortion
    that viewers have now.
    """

    dosed: Dosed
    parent: int | None
    left: float


Distil: TypeAlias = Callable[[Sequence[Seen], int, Next, Callable[[Progress], None]], Made]
"""(pictures, of how many they are a part, next, report) -> what suits them best; `report` raises when it is
not wanted any more.
"""


class _Unwanted(Exception):
    """The shot that a round is for is over."""


class Distiller:
    """A context manager; everything but the round itself is for the thread that encodes."""

    def __init__(self, distil: Distil) -> None:
        self._distil = distil
        self._changed = threading.Condition()
        self._thread = threading.Thread(target=self._run, name="distil", daemon=True)
        self._ended = False
        self._reset()
        self._shot = 0

    def _reset(self) -> None:
        self._seen: list[Seen] = []
        self._stride, self._count, self._due = 1, 0, FIRST_ROUND
        self._next: Next | None = None
        self._limit = math.inf
        self._made: Made | None = None

    def __enter__(self) -> "Distiller":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with self._changed:
            self._ended = True
            self._shot += 1
            self._changed.notify()
        self._thread.join()

    def see(self, seen: Seen, following: Next) -> None:
        """The next picture of this shot, and what a dose would be."""
        with self._changed:
            if self._count % self._stride == 0:
                self._seen.append(seen)
            self._count, self._next = self._count + 1, following
            if len(self._seen) > KEPT:
                del self._seen[1::2]
                self._stride *= 2
            self._changed.notify()

    def resume(self, pictures: Sequence[Seen], count: int, following: Next) -> None:
        """Begin with a round on these pictures of the `count` of this shot, and what a dose would be."""
        with self._changed:
            self._seen, self._count, self._next = list(pictures), count, following
            while math.ceil(count / self._stride) > KEPT:  # as it has become by then
                self._stride *= 2
            self._due = 0
            self._changed.notify()

    def cut(self) -> None:
        """A new shot begins: what was learned of the last one is of no use."""
        with self._changed:
            self._shot += 1
            self._reset()

    def take(self) -> Made | None:
        """A dose that pays, once, made for the epoch that was told last."""
        with self._changed:
            found, self._made = self._made, None
            if found:
                self._next = None  # until it is told anew
            return found

    def _run(self) -> None:
        with suppress(AttributeError, OSError):  # per thread on Linux; elsewhere the scheduler has to do
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)
        while True:
            with self._changed:
                self._changed.wait_for(self._has_work)
                if self._ended:
                    return
                self._due = GROWTH * self._count
                shot, following, pictures, count = self._shot, self._next, list(self._seen), self._count
            assert following is not None
            try:
                self._finish(shot, self._distil(pictures, count, following, partial(self._require, shot)))
            except _Unwanted:
                continue
            except Exception:  # the stream goes on without a dose
                log.exception("no dose for epoch %d", following.epoch)

    def _has_work(self) -> bool:
        """Whether to begin a round, or to end; a dose that nobody has taken yet holds the next one up."""
        return self._ended or (self._count >= self._due and self._made is None and self._next is not None)

    def _require(self, shot: int, _: Progress) -> None:
        if shot != self._shot:
            raise _Unwanted

    def _finish(self, shot: int, made: Made) -> None:
        """Keep a dose, if its shot goes on and it is enough better than what viewers have."""
        with self._changed:
            if shot == self._shot and made.dosed.dose is not None and made.left < self._limit:
                self._made, self._limit = made, BETTER
