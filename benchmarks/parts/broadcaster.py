"""Publishing one live sequence after another, each with a viewer who is there from the first picture on.

put, put, put ... end --> job --> judge: manifest and log
        viewer: follow from 0 --> judge: each picture once, in order, decoded
"""

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path

from benchmarks.parts.judge import is_sound, judge, judge_view
from benchmarks.parts.patient import STUCK_S, Patient
from microdose.errors import MicrodoseError, NotFound, Unavailable
from microdose_client import Client

EVERY_S = 0.3
"""From one picture to the next."""


class Broadcaster(threading.Thread):
    """Goes on until told to stop, then ends the sequence that it has begun."""

    def __init__(self, patient: Patient, files: Sequence[Path]) -> None:
        super().__init__(daemon=True)
        self.patient = patient
        self.stopping = threading.Event()
        self._files = files

    def run(self) -> None:
        """Broadcast."""
        with self.patient, suppress(Unavailable):
            while not self.stopping.is_set():
                self._broadcast()

    def _broadcast(self) -> None:
        patient, tally, count = self.patient, self.patient.tally, len(self._files)
        tally.sequences, tally.live = tally.sequences + 1, tally.live + 1
        try:
            with patient.client.live(dose="full") as live:
                viewer = Viewer(patient, live.sequence)
                viewer.start()
                for file in self._files:
                    live.put(file)
                    time.sleep(EVERY_S)
        except Unavailable:
            raise
        except MicrodoseError as error:
            tally.note("lost", count, f"a live sequence was refused: {error}")
            return
        job = patient.persist(lambda: patient.client.sequence(live.sequence)).job
        assert job is not None
        if patient.succeeds(patient.persist(lambda: patient.client.job(job)), count):
            viewer.judge(count)
            patient.persist(partial(judge, patient.client, patient.bus, live.sequence, count, tally))


class Viewer(threading.Thread):
    """Follows a sequence to its end. `seen`: the numbers of the pictures that it was shown."""

    def __init__(self, patient: Patient, sequence: str) -> None:
        super().__init__(daemon=True)
        self.seen: list[int] = []
        self._patient, self._sequence = patient, sequence
        self._client: Client = patient.client

    def run(self) -> None:
        """Follow; the sequence may not have begun, but once it has it stays."""
        tally, name = self._patient.tally, self._sequence
        try:
            self._patient.persist(lambda: self._client.manifest(name), NotFound)
            for picture in self._client.follow(name, threads=1):
                self.seen.append(picture.n)
                tally.note("corrupt", int(not is_sound(picture)), f"picture {picture.n} of {name}")
        except Unavailable:
            return
        except MicrodoseError as error:
            tally.note("corrupt", 1, f"a viewer of {name}: {error}")

    def judge(self, count: int) -> None:
        """Once the sequence has ended with so many pictures: note what is amiss with what was seen."""
        self.join(STUCK_S)
        self._patient.tally.note("stuck", int(self.is_alive()), f"a viewer of {self._sequence}")
        judge_view(self._sequence, self.seen, count, self._patient.tally)
