"""Stand-ins for the work of a job: everything around the torch part is real, as are the ways they end.

`MICRODOSE_…` in the environment says where Redis is; each notes its process in the list `pids:<job>`.
"""

import os
import signal
import time
from contextlib import suppress
from dataclasses import replace

from microdose.digest import digest_of
from microdose.dose import DoseKind
from microdose.errors import BadPicture, Fenced, Unavailable
from microdose.resources import Frame
from microdose_server.distil.specialise import Dosed
from microdose_server.jobs.attempt import Assignment, make_attempt
from microdose_server.jobs.distiller import Made, Next
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.live import stream
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.publication import Coded, Epoch, Publication, make_publication, make_results
from microdose_server.jobs.records import Jobs
from microdose_server.store.bus import publish
from microdose_server.store.drafts import read_checkpoint
from microdose_server.store.lock import poll
from microdose_server.store.redis import LOST
from microdose_server.store.sequences import Sequences
from tests.tiny_base import tiny_base, tiny_dose, tiny_segment
from tests.tiny_encoder import TinyEncoder
from tests.valkey import refusing_writes
from tests.workers import PATIENCE_S

STOPS_AT = 12


def publishing(errand: Errand) -> None:
    """Publish one tiny picture."""
    make_attempt(errand, _publish)


def endless(errand: Errand) -> None:
    """Report for ever."""
    make_attempt(errand, _work_for_ever)


def crashing(errand: Errand) -> None:
    """Die as if out of memory, each time."""
    make_attempt(errand, lambda given: _die(given))


def crashing_once(errand: Errand) -> None:
    """Die at the first attempt, publish at the second."""
    make_attempt(errand, lambda given: _die(given) if given.report.job.attempt == 1 else _publish(given))


def endless_once(errand: Errand) -> None:
    """Report for ever at the first attempt, publish at the second."""
    make_attempt(errand, lambda given: (_work_for_ever if given.report.job.attempt == 1 else _publish)(given))


def patient(errand: Errand) -> None:
    """Report until the key `go:<job>` exists, then publish."""
    make_attempt(errand, _work_until_told)


def silent(errand: Errand) -> None:
    """Report nothing."""
    make_attempt(errand, _wait_for_ever)


def deaf_once(errand: Errand) -> None:
    """Publish; the first attempt hears of nothing but the key `go:<job>`, and notes in `fenced:<job>`."""
    make_attempt(errand, lambda given: (_publish_late if given.report.job.attempt == 1 else _publish)(given))


def refusing(errand: Errand) -> None:
    """Fail by an error of the input."""
    make_attempt(errand, _refuse)


def unavailable(errand: Errand) -> None:
    """Fail by an error that is not the job's."""
    make_attempt(errand, _lose_redis)


def refused_once(errand: Errand) -> None:
    """Meet a Redis that refuses at the first attempt, publish at the second."""
    make_attempt(errand, lambda given: (_refused if given.report.job.attempt == 1 else _publish)(given))


def tiny(errand: Errand) -> None:
    """The real work, torch's part but for what a tiny base does instead."""
    from microdose_server.jobs.work import process
    from tests.tiny_encoder import TinyEncoder

    def body(given: Assignment) -> None:
        note_process(given)
        process(given, TinyEncoder())

    make_attempt(errand, body)


def distilling(errand: Errand) -> None:
    """The real work, whose first attempt does not get beyond step `STOPS_AT` of distillation; all steps are
    noted in the list `steps:<job>`.
    """
    from microdose_server.jobs.work import encoder_for, process

    def body(given: Assignment) -> None:
        note_process(given)
        process(replace(given, report=_Noting(given)), encoder_for(given))

    make_attempt(errand, body)


def streaming(errand: Errand) -> None:
    """A live sequence, but for the teacher and the distillation: the first round finds a dose."""
    make_attempt(errand, _stream)


class _Noting(Reporter):
    def __init__(self, given: Assignment) -> None:
        super().__init__(Jobs(given.client), given.report.job, given.attempt.token)
        self._given = given

    def step(
        self, step: int, loss: float | None = None, psnr: float | None = None, *, steps: int | None = None
    ) -> None:
        if self.job.phase == "distil":
            self._given.client.rpush(f"steps:{self.job.id}", step)
            if self.job.attempt == 1 and step == STOPS_AT // 2:
                self._note_checkpoint()
            if self.job.attempt == 1 and step == STOPS_AT:
                time.sleep(10**6)
        super().step(step, loss, psnr, steps=steps)

    def _note_checkpoint(self) -> None:
        """Wait for the first one, which may be of the very beginning; another follows when it is saved."""
        client, sequence = self._given.client, self._given.attempt.sequence
        assert poll(lambda: read_checkpoint(client, sequence) is not None, PATIENCE_S)
        client.set(f"early:{self.job.id}", read_checkpoint(client, sequence) or "")


def note_process(given: Assignment) -> None:
    """Tell the test who works."""
    given.client.rpush(f"pids:{given.attempt.job}", os.getpid())


def _publish(given: Assignment) -> None:
    note_process(given)
    given.report.phase("publish", 1)
    made = _publication(given)
    results = make_results(made.manifest, given.report.seconds)
    publish(given.client, given.attempt, made.manifest, made.events, results)


def _publication(given: Assignment) -> Publication:
    base = tiny_base()
    dose, segment = tiny_dose(base), tiny_segment(base)
    frame = Frame(n=0, digest=digest_of(b""), size=0, width=40, height=24)
    return make_publication(
        given.attempt.sequence, "tiny", base, [Coded(frame, segment)], [Epoch(DoseKind.FULL, dose)]
    )


def _stream(given: Assignment) -> None:
    note_process(given)

    def distil(pictures: object, count: int, following: Next, report: object) -> Made:
        dosed = Dosed(tiny_dose(tiny_base(), following.epoch), DoseKind.FULL, 1.0, 0.5)
        return Made(dosed, None, 1.0 if following.shown else 0.5)

    wish = Sequences(given.client).get(given.attempt.sequence)
    stream(given, wish, TinyEncoder(), distil)


def _work_for_ever(given: Assignment) -> None:
    given.report.phase("distil", 10**9)
    note_process(given)
    for step in range(10**9):
        given.report.step(step)
        time.sleep(0.05)


def _work_until_told(given: Assignment) -> None:
    given.report.phase("distil", 10**9)
    note_process(given)
    step, told = 0, False
    while not told:
        step += 1
        given.report.step(step)
        time.sleep(0.05)
        with suppress(*LOST):
            told = bool(given.client.exists(f"go:{given.attempt.job}"))
    _publish(given)


def _wait_for_ever(given: Assignment) -> None:
    note_process(given)
    time.sleep(10**6)


def _publish_late(given: Assignment) -> None:
    note_process(given)
    while not given.client.exists(f"go:{given.attempt.job}"):
        time.sleep(0.05)
    made = _publication(given)
    try:
        publish(given.client, given.attempt, made.manifest, made.events, make_results(made.manifest, {}))
    except Fenced:
        given.client.set(f"fenced:{given.attempt.job}", 1)
        raise


def _die(given: Assignment) -> None:
    note_process(given)
    os.kill(os.getpid(), signal.SIGKILL)


def _refuse(given: Assignment) -> None:
    raise BadPicture("frame 0: truncated")


def _refused(given: Assignment) -> None:
    with refusing_writes(given.client):
        given.client.set("more", 1)


def _lose_redis(given: Assignment) -> None:
    note_process(given)
    raise Unavailable("no Redis at nowhere")
