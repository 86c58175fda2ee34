"""What a job keeps of its work until it is published, so that a picture is encoded once, whatever dies.

    frame --teacher--> segment        on the shelf of originals, not the public one
                          |
       md:{s:<id>}:drafts: n -> its digest

Another attempt, on another machine, takes up what is there. The rest follows from the segment: y_hat exactly,
and the teacher's picture with its features in less time than to keep that picture took.
Publishing forgets the record; garbage collection takes the files.
"""

import logging

import numpy as np
import redis
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream, DigestMismatch, NotFound, NotReproducible, UnknownBase
from microdose.latents import decode_picture
from microdose.resources import Frame
from microdose.segment import parse_segment
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import Draft, read_drafts, write_draft
from microdose_server.store.redis import patiently
from microdose_server.store.shelf import Shelf

UNUSABLE = (NotFound, DigestMismatch, CorruptStream, NotReproducible, UnknownBase)

log = logging.getLogger(__name__)


class Drafts:
    """The drafts of one attempt's sequence, for one base."""

    def __init__(self, client: redis.Redis, attempt: Attempt, base: LoadedBase, shelf: Shelf) -> None:
        self._client = client
        self._attempt = attempt
        self._base = base
        self._shelf = shelf
        self._there = patiently(lambda: read_drafts(client, attempt.sequence))
        self._hyper = hyper_from(Graph(base.hyper))

    def find(self, frame: Frame) -> tuple[bytes, NDArray[np.float32]] | None:
        """The frame's segment and y_hat as an earlier attempt has coded it, if that has left them whole."""
        draft = self._there.get(frame.n)
        if draft is None or (draft.frame, draft.base) != (frame.digest, self._base.digest):
            return None
        try:
            segment = self._shelf.get(draft.segment)
            return segment, decode_picture(parse_segment(segment), self._base, self._hyper)
        except UNUSABLE as error:
            log.warning("the draft of frame %d is of no use: %s", frame.n, error)
            return None

    def keep(self, frame: Frame, segment: bytes) -> None:
        """Leave an encoded picture for another attempt. Raises Fenced."""
        draft = Draft(frame=frame.digest, base=self._base.digest, segment=self._shelf.put(segment))
        patiently(lambda: write_draft(self._client, self._attempt, frame.n, draft))
