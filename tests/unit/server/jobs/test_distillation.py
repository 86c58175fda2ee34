"""Specialising shot by shot: what is told of it, and what another attempt takes up."""

from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from microdose.digest import digest_of
from microdose.dose import DoseKind, dosed_student
from microdose.resources import DoseAim, DoseChoice, Frame, Job, Sequence, SequenceCreate
from microdose_server.codec.encode import Encoder
from microdose_server.distil.checkpoint import as_bytes, as_tensor, pack_checkpoint, parse_checkpoint
from microdose_server.distil.specialise import Dosed
from microdose_server.distil.tiles import Target
from microdose_server.jobs import outcome
from microdose_server.jobs.distillation import Distillation
from microdose_server.jobs.dosing import Allowance, Found, Task
from microdose_server.jobs.progress import Reporter
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Limits, Settings
from microdose_server.store.sequences import Sequences
from tests.kept import Kept
from tests.photos import photo

STEPS = 130


class Told(Reporter):
    """Notes every step, and dies at one of them."""

    def __init__(self, jobs: Jobs, job: Job, token: int, last: int) -> None:
        super().__init__(jobs, job, token)
        self.told: list[int] = []
        self._last = last

    def step(
        self, step: int, loss: float | None = None, psnr: float | None = None, *, steps: int | None = None
    ) -> None:
        assert steps == STEPS
        self.told.append(step)
        if step == self._last:
            raise KeyboardInterrupt


@dataclass
class Stage:
    """A job on two shots of one picture each; every attempt finds what the last has left."""

    client: redis.Redis
    encoder: Encoder
    keeper: Kept
    wish: Sequence
    job: Job
    token: int

    def attempt(
        self, last: int = 0, seconds: float | None = None, **wishes: Any
    ) -> tuple[list[int], list[Found]]:
        """The steps that are told until the last, and what is found."""
        report = Told(Jobs(self.client), self.job, self.token, last)
        wish = self.wish.model_copy(update={"lmbda": 1e-5, **wishes})
        settings = Settings(distil_steps=STEPS)
        distillation = Distillation(settings, self.encoder.base, report, wish, self.keeper)
        chains: tuple[tuple[bytes, ...], ...] = ((),)
        found: list[Found] = []
        with suppress(KeyboardInterrupt):
            for epoch, steps in enumerate((70, 60)):
                encoded = self.encoder.encode(photo(8 * epoch))
                targets = [Target(encoded.y_hat, encoded.x_hat)]
                found.append(distillation(Task(targets, epoch, chains, Allowance(96 * 64, steps, seconds))))
                dose = found[-1].dosed.dose
                chains = ((), (dose,)) if dose else ((),)
        return report.told, found


@pytest.fixture
def stage(bus: redis.Redis, tiny_encoder: Encoder) -> Stage:
    wish = Sequences(bus).create(SequenceCreate(dose=DoseChoice.GAINS))
    frame = Frame(n=0, digest=digest_of(b""), size=0, width=96, height=64)
    Sequences(bus).put_frame(wish.id, frame, Limits())
    begun = outcome.begin(bus, JobQueue(bus).enqueue(wish.id))
    assert begun is not None
    job, attempt = begun
    return Stage(bus, tiny_encoder, Kept(), wish, job, attempt.token)


def test_another_attempt_goes_on_in_the_shot_that_was_under_way(stage: Stage) -> None:
    told, found = stage.attempt(last=125)
    assert told == list(range(1, 126))
    again, both = stage.attempt()
    assert len(again) < 10  # most of the last shot was kept, and all of the first
    assert min(again) > 70
    assert both[0] == found[0]
    doses = [each.dosed.dose for each in both]
    assert None not in doses
    assert stage.attempt()[1] == both  # and now there is nothing left to do


def test_the_seconds_of_a_shot_are_those_of_all_attempts(stage: Stage) -> None:
    stage.attempt(last=65)
    kept = parse_checkpoint(stage.keeper.data or b"")
    assert kept is not None
    run = parse_checkpoint(as_bytes(kept.tensors["run"]))
    assert run is not None
    run.facts["clock"]["seconds"] += 1000.0
    longer = as_tensor(pack_checkpoint(run.tensors, run.facts))
    stage.keeper.data = pack_checkpoint(kept.tensors | {"run": longer}, kept.facts)
    _, (first, second) = stage.attempt()
    assert first.seconds > 1000.0 > second.seconds


def test_without_seconds_nothing_is_tried(stage: Stage) -> None:
    told, found = stage.attempt(dose=DoseChoice.AUTO, seconds=0.0)
    assert told == []
    assert [each.dosed for each in found] == [Dosed(None, DoseKind.NONE, 0.0, 0.0)] * 2


def test_a_second_shot_may_build_on_the_first(stage: Stage) -> None:
    _, (first, second) = stage.attempt()
    assert (first.start, second.start) == (0, 1)
    assert first.dosed.dose is not None
    assert second.dosed.dose is not None
    chain = (first.dosed.dose, second.dosed.dose)
    assert dosed_student(stage.encoder.base, chain) != dosed_student(stage.encoder.base, chain[:1])


@pytest.mark.parametrize("other", [{"lmbda": 1e-6}, {"aim": DoseAim.TEACHER}])
def test_what_was_kept_of_another_wish_is_not_used(stage: Stage, other: dict[str, Any]) -> None:
    stage.attempt()
    told, _ = stage.attempt(**other)
    assert told[0] == 1


OLDER = pack_checkpoint({}, {"format": "shots 2", "done": [[[], 0, 1.5, "none", 0.0, 0.0]]})


@pytest.mark.parametrize("data", [b"", b"no checkpoint", pack_checkpoint({}, {"run": []}), OLDER])
def test_what_is_no_checkpoint_is_none(stage: Stage, data: bytes) -> None:
    stage.keeper.data = data
    told, _ = stage.attempt(last=3)
    assert told == [1, 2, 3]
