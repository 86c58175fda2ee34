"""Latents refined for the student that viewers will have, once its dose is known: `distil.refine` in a job.

original --encoder--> y, z --Refiner--> segment, y_hat        kept as a draft, as encoded pictures are
                              |
        student with the doses of the picture's epoch
"""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from torch import nn

from microdose.digest import Digest, digest_of
from microdose.dose import dosed_student
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.refine import Refinement, Refiner, Tell
from microdose_server.intake.picture import read_picture
from microdose_server.jobs.aiming import PictureEncoder
from microdose_server.jobs.attempt import Assignment
from microdose_server.jobs.drafts import Drafts
from microdose_server.jobs.publication import Coded
from microdose_server.store.shelf import originals
from microdose_server.training.precision import placed


class Refining:
    """Refines the pictures of one attempt's sequence, in `steps` steps each, for a base's student."""

    def __init__(self, given: Assignment, encoder: PictureEncoder, steps: int) -> None:
        self._encoder, self._settings = encoder, given.settings
        self._recipe = Refinement(steps)
        self._refiner = Refiner(encoder.base, self._recipe, given.settings.device)
        self._originals = originals(given.settings)
        self._drafts = Drafts(given.client, given.attempt, encoder.base, self._originals)
        self._doses: tuple[bytes, ...] | None = None
        self._decoder: nn.Module = nn.Identity()

    def picture(
        self, coded: Coded, goal: NDArray[np.uint8], doses: Sequence[bytes], tell: Tell
    ) -> tuple[Coded, NDArray[np.float32]]:
        """A picture coded anew with its y_hat, so that the student with these doses shows `goal`, uint8
        [H, W, 3]; what an earlier attempt has left of that is taken. `tell` is called after every step, and
        may raise. Raises Fenced.
        """
        frame, purpose = coded.frame, purpose_of(self._recipe, coded.epoch, doses)
        found = self._drafts.find_refined(frame, purpose)
        segment, y_hat = found or self._code(coded, goal, tuple(doses), tell)
        if found is None:
            self._drafts.keep_refined(frame, segment, purpose)
        return Coded(frame, segment), y_hat

    def _code(
        self, coded: Coded, goal: NDArray[np.uint8], doses: tuple[bytes, ...], tell: Tell
    ) -> tuple[bytes, NDArray[np.float32]]:
        if doses != self._doses:
            student = student_from_onnx(dosed_student(self._encoder.base, doses)).requires_grad_(False)
            self._decoder, self._doses = placed(student, self._settings.device), doses
        pixels = read_picture(self._originals.get(coded.frame.digest), self._settings.limits).pixels
        return self._refiner.code(self._encoder.latents(pixels), goal, self._decoder, coded.epoch, tell)


def purpose_of(recipe: Refinement, epoch: int, doses: Sequence[bytes]) -> Digest:
    """A name of all that a refined segment follows from, beside its picture and what is aimed at."""
    parts = (repr(recipe), str(epoch), *map(digest_of, doses))
    return digest_of("\n".join(parts).encode())
