"""What a job keeps of its work until it is published, so that a picture is encoded once, whatever dies.

    frame --teacher--> segment --for a dose--> refined     both on the shelf of originals, not the public one
                          |                       |
       md:{s:<id>}:drafts: n -> their digests ----'

Another attempt, on another machine, takes up what is there. The rest follows from the segment: y_hat exactly,
and the teacher's picture with its features in less time than to keep that picture took.
Publishing forgets the record; garbage collection takes the files.
"""

import logging

import numpy as np
import redis
from numpy.typing import NDArray

from microdose.base import LoadedBase
from microdose.digest import Digest
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
        draft = self._draft(frame)
        return None if draft is None else self._coded(frame, draft.segment)

    def keep(self, frame: Frame, segment: bytes) -> None:
        """Leave an encoded picture for another attempt. Raises Fenced."""
        digest = self._shelf.put(segment)
        self._write(frame.n, Draft(frame=frame.digest, base=self._base.digest, segment=digest))

    def find_refined(self, frame: Frame, purpose: Digest) -> tuple[bytes, NDArray[np.float32]] | None:
        """The same of the refined segment, if it was refined for this purpose."""
        draft = self._draft(frame)
        if draft is None or draft.refined is None or draft.refined_for != purpose:
            return None
        return self._coded(frame, draft.refined)

    def keep_refined(self, frame: Frame, segment: bytes, purpose: Digest) -> None:
        """Leave a refined picture beside the encoded one, if that was kept. Raises Fenced."""
        draft = self._draft(frame)
        if draft is None:
            log.warning("frame %d has no draft to keep a refined one beside", frame.n)
            return
        changes = {"refined": self._shelf.put(segment), "refined_for": purpose}
        self._write(frame.n, draft.model_copy(update=changes))

    def _draft(self, frame: Frame) -> Draft | None:
        draft = self._there.get(frame.n)
        fits = draft is not None and (draft.frame, draft.base) == (frame.digest, self._base.digest)
        return draft if fits else None

    def _coded(self, frame: Frame, digest: Digest) -> tuple[bytes, NDArray[np.float32]] | None:
        try:
            segment = self._shelf.get(digest)
            return segment, decode_picture(parse_segment(segment), self._base, self._hyper)
        except UNUSABLE as error:
            log.warning("the draft of frame %d is of no use: %s", frame.n, error)
            return None

    def _write(self, n: int, draft: Draft) -> None:
        patiently(lambda: write_draft(self._client, self._attempt, n, draft))
        self._there[n] = draft
