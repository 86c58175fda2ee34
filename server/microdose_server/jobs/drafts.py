"""What a job keeps of its work until it is published, so that a picture is encoded once, whatever dies.

    frame --teacher--> segment, and as PNG its picture if doses aim at it     on the shelf of originals,
                                 |                                            not the public one
                       md:{s:<id>}:drafts: n -> their digests

Another attempt, on another machine, takes up what is there. y_hat is not kept: the segment has it, exactly.
Nor are the teacher's features, which are as large as the picture: the dose is then made without them.
Publishing forgets the record; garbage collection takes the files.
"""

import io
import logging

import numpy as np
import redis
from numpy.typing import NDArray
from PIL import Image

from microdose.base import LoadedBase
from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream, DigestMismatch, NotFound, NotReproducible, UnknownBase
from microdose.latents import decode_picture
from microdose.resources import Frame
from microdose.segment import parse_segment
from microdose_server.distil.tiles import Target
from microdose_server.intake.picture import write_png
from microdose_server.jobs.aiming import Aimed
from microdose_server.store.bus import Attempt
from microdose_server.store.drafts import Draft, read_drafts, write_draft
from microdose_server.store.redis import patiently
from microdose_server.store.shelf import Shelf

UNUSABLE = (NotFound, DigestMismatch, CorruptStream, NotReproducible, UnknownBase)

log = logging.getLogger(__name__)


class Drafts:
    """The drafts of one attempt's sequence, for one base."""

    def __init__(
        self, client: redis.Redis, attempt: Attempt, base: LoadedBase, shelf: Shelf, painted: bool
    ) -> None:
        """painted: whether doses aim at the teacher's pictures, which are then kept as well."""
        self._client = client
        self._attempt = attempt
        self._base = base
        self._shelf = shelf
        self._painted = painted
        self._there = patiently(lambda: read_drafts(client, attempt.sequence))
        self._hyper = hyper_from(Graph(base.hyper))

    def find(self, frame: Frame, pixels: NDArray[np.uint8]) -> Aimed | None:
        """The frame, of these pixels, as an earlier attempt has coded it, if that has left what is wanted."""
        draft = self._there.get(frame.n)
        if draft is None or (draft.frame, draft.base) != (frame.digest, self._base.digest):
            return None
        try:
            segment = self._shelf.get(draft.segment)
            y_hat = decode_picture(parse_segment(segment), self._base, self._hyper)
            return Aimed(segment, Target(y_hat, self._painting(draft) if self._painted else pixels))
        except UNUSABLE as error:
            log.warning("the draft of frame %d is of no use: %s", frame.n, error)
            return None

    def keep(self, frame: Frame, aimed: Aimed) -> None:
        """Leave an encoded picture for another attempt. Raises Fenced."""
        draft = Draft(
            frame=frame.digest,
            base=self._base.digest,
            segment=self._shelf.put(aimed.segment),
            picture=self._shelf.put(write_png(aimed.target.pixels)) if self._painted else None,
        )
        patiently(lambda: write_draft(self._client, self._attempt, frame.n, draft))

    def _painting(self, draft: Draft) -> NDArray[np.uint8]:
        """The teacher's picture. Raises NotFound where none was kept, DigestMismatch."""
        if draft.picture is None:
            raise NotFound("it has no picture of the teacher's")
        with Image.open(io.BytesIO(self._shelf.get(draft.picture)), formats=["PNG"]) as image:
            return np.asarray(image, np.uint8)
