"""What a job keeps of its work until it is published, so that a picture is encoded once, whatever dies.

    frame --teacher--> segment, teacher's picture as PNG     on the shelf of originals, not the public one
                                 |
                       md:{s:<id>}:drafts: n -> their digests

Another attempt, on another machine, takes up what is there. y_hat is not kept: the segment has it, exactly.
Nor are the teacher's features, which are as large as the picture: the dose is then made without them.
Publishing forgets the record; garbage collection takes the files.
"""

import io
import logging

import numpy as np
import redis
from PIL import Image

from microdose.base import LoadedBase
from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream, DigestMismatch, NotFound, NotReproducible, UnknownBase
from microdose.latents import decode_picture
from microdose.resources import Frame
from microdose.segment import parse_segment
from microdose_server.codec.encode import Encoded, EncodeTimings
from microdose_server.intake.picture import write_png
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import Draft, read_drafts, write_draft
from microdose_server.store.redis import patiently
from microdose_server.store.shelf import Shelf

NO_TIME = EncodeTimings(0.0, 0.0, 0.0, 0.0)
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

    def find(self, frame: Frame) -> Encoded | None:
        """The frame's encoded picture, if an earlier attempt has left it whole."""
        draft = self._there.get(frame.n)
        if draft is None or (draft.frame, draft.base) != (frame.digest, self._base.digest):
            return None
        try:
            segment, png = self._shelf.get(draft.segment), self._shelf.get(draft.picture)
            y_hat = decode_picture(parse_segment(segment), self._base, self._hyper)
        except UNUSABLE as error:
            log.warning("the draft of frame %d is of no use: %s", frame.n, error)
            return None
        with Image.open(io.BytesIO(png), formats=["PNG"]) as image:
            return Encoded(segment, y_hat, np.asarray(image, np.uint8), NO_TIME)

    def keep(self, frame: Frame, encoded: Encoded) -> None:
        """Leave an encoded picture for another attempt. Raises Fenced."""
        draft = Draft(
            frame=frame.digest,
            base=self._base.digest,
            segment=self._shelf.put(encoded.segment),
            picture=self._shelf.put(write_png(encoded.x_hat)),
        )
        patiently(lambda: write_draft(self._client, self._attempt, frame.n, draft))
