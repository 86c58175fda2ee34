"""Publishing one sequence after another, and looking at what became of each."""

import threading
from collections.abc import Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from benchmarks.parts.judge import HEIGHT, PICTURES, WIDTH, judge
from benchmarks.parts.patient import Patient
from microdose.errors import NotFound, Unavailable
from microdose.resources import DoseChoice, SequenceComplete, SequenceCreate
from microdose_client.push import put_all


class Publisher(threading.Thread):
    """Goes on until told to stop. `uploading`: whether pictures are on their way just now."""

    def __init__(self, patient: Patient, files: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self.patient = patient
        self.uploading = False
        self.stopping = threading.Event()
        self._files = files

    def run(self) -> None:
        """Publish."""
        with self.patient, suppress(Unavailable):
            while not self.stopping.is_set():
                self._publish_one()

    def _publish_one(self) -> None:
        patient, tally = self.patient, self.patient.tally
        dose = DoseChoice.FULL if tally.sequences % 3 == 0 else DoseChoice.NONE
        refine = 2 if tally.sequences % 2 == 0 else None
        create = partial(patient.run, patient.api.create, SequenceCreate(dose=dose, refine=refine))
        sequence = patient.persist(create).id
        tally.sequences += 1
        try:
            self._publish(sequence)
        except NotFound as error:
            tally.note("lost", PICTURES, f"{sequence}: {error}")

    def _publish(self, sequence: str) -> None:
        patient = self.patient
        self.uploading = True
        patient.persist(lambda: put_all(patient.run, patient.api, sequence, self._files))
        self.uploading = False
        job = patient.persist(lambda: patient.run(patient.api.complete, sequence, SequenceComplete()))
        if patient.succeeds(job, PICTURES):
            look: Callable[[], None] = partial(
                judge, patient.client, patient.bus, sequence, PICTURES, patient.tally
            )
            patient.persist(look)


def pictures(folder: Path, seed: int, count: int = PICTURES) -> list[Path]:
    """Some small pictures: smooth noise."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed)
    files = [folder / f"{n}.png" for n in range(count)]
    for file in files:
        coarse = noise.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file)
    return files
