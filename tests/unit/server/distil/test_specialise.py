import math
import time
from dataclasses import replace

import pytest

from microdose.base import LoadedBase
from microdose.digest import digest_of, prefix
from microdose.dose import DoseKind, dosed_student, parse_dose
from microdose.resources import DoseChoice
from microdose_server.distil import specialise as specialise_module
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import HELD_OUT, Learner, Overfit, OverfitRecipe
from microdose_server.distil.patch import FINEST, Group, Patch, Steps
from microdose_server.distil.plan import Clock, Phase, Stage
from microdose_server.distil.progress import Progress
from microdose_server.distil.rate import Scales, Terms
from microdose_server.distil.specialise import Budget, Climb, Dosed, Target
from tests.unit.server.distil.conftest import STEPS, Counting, disturb, dose


@pytest.mark.parametrize("choice", [DoseChoice.GAINS, DoseChoice.LOW_RANK, DoseChoice.FULL])
def test_every_rung_brings_the_student_nearer_to_the_teacher(
    tiny_teacher_base: LoadedBase, targets: list[Target], choice: DoseChoice
) -> None:
    told: list[Progress] = []
    dosed = dose(tiny_teacher_base, targets, choice, told=told)
    assert dosed.kind.value == choice.value
    assert dosed.dose is not None
    assert dosed.loss_after < dosed.loss_before
    assert [progress.step for progress in told] == list(range(1, STEPS + 1))
    parsed = parse_dose(dosed.dose, tiny_teacher_base)
    assert (parsed.kind, parsed.epoch) == (dosed.kind, 5)
    assert parsed.changes


def test_a_higher_rung_is_nearer_to_the_teacher(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    """Where bytes cost nothing, as with very many pictures; and it is the larger dose."""
    ladder = (DoseChoice.GAINS, DoseChoice.LOW_RANK, DoseChoice.FULL)
    found = [
        dose(tiny_teacher_base, targets, choice, lmbda=1e-7, budget=Budget(steps=60)) for choice in ladder
    ]
    losses, sizes = [each.loss_after for each in found], [len(each.dose or b"") for each in found]
    assert found[0].loss_before > losses[0] > losses[1] > losses[2]
    assert sizes[0] < sizes[1] < sizes[2]


def test_the_more_pictures_share_a_dose_the_more_it_may_be(
    tiny_teacher_base: LoadedBase, targets: list[Target]
) -> None:
    """Repeating a sequence does to its price per byte what as many pictures would."""
    found = [dose(tiny_teacher_base, targets * n, lmbda=8.0) for n in (1, 32, 800)]
    sizes = [len(dosed.dose or b"") for dosed in found]
    assert found[0].kind is DoseKind.NONE
    assert found[0].loss_after == found[0].loss_before
    assert found[2].kind is DoseKind.FULL
    assert sizes[0] < sizes[1] < sizes[2]


def test_one_picture_ends_before_any_training(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    told: list[Progress] = []
    dosed = dose(tiny_teacher_base, targets[1:], lmbda=2.0, told=told)
    assert (dosed.dose, dosed.kind) == (None, DoseKind.NONE)
    assert not told


def test_no_dose_is_over_its_cap(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    """Yet there is one, and it helps."""
    for cap, choice in ((250, DoseChoice.FULL), (500, DoseChoice.FULL), (500, DoseChoice.AUTO)):
        dosed = dose(tiny_teacher_base, targets, choice, lmbda=1e-7, most_bytes=cap)
        assert 0 < len(dosed.dose or b"") <= cap
        assert dosed.loss_after < dosed.loss_before


def test_a_dose_that_outgrows_its_cap_is_coded_in_the_finest_steps_that_fit(
    tiny_teacher_base: LoadedBase, patch: Patch, objective: Objective
) -> None:
    patch.climb(DoseKind.FULL)
    disturb(patch)
    scales = Scales(Overfit(patch, objective), tiny_teacher_base, Terms(1e-7, 10**5), epoch=0)

    def coded(octaves: float) -> dict[str, float]:
        return {key: delta.coded(FINEST * 2.0**octaves) for key, delta in patch.deltas.items()}

    for octaves in (3.0, 5.5, 7.0, 8.5):
        wanted = scales.weigh(DoseKind.FULL, coded(octaves)).blob or b""
        capped = replace(scales, terms=replace(scales.terms, most_bytes=len(wanted)))
        clock, learner = Clock(Budget(steps=1)), Learner(OverfitRecipe())
        climb = Climb(capped, learner, DoseChoice.FULL, clock, lambda _: None, None)
        climb.steps = coded(0.0)
        assert climb._final(Phase(DoseKind.FULL, Stage.FINAL, 1.0)).blob == wanted


def test_a_rung_is_sent_at_any_price(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    dosed = dose(tiny_teacher_base, targets, DoseChoice.FULL, lmbda=1e9, budget=Budget(steps=6))
    assert dosed.kind is DoseKind.FULL
    assert dosed.dose is not None


def test_none_trains_nothing(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    told: list[Progress] = []
    assert dose(tiny_teacher_base, targets, DoseChoice.NONE, told=told) == Dosed(None, DoseKind.NONE, 0, 0)
    assert not told


def test_a_budget_in_seconds_ends_early(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    told: list[Progress] = []
    budget = Budget(steps=10**6, seconds=1.0)
    dose(tiny_teacher_base, targets, DoseChoice.GAINS, budget=budget, told=told)
    assert len(told) < 10**4
    assert all(progress.steps < 10**6 for progress in told)  # a guess, by the seconds


@pytest.mark.parametrize(
    ("choice", "out_in", "coded"),
    [
        (DoseChoice.AUTO, None, []),
        (DoseChoice.AUTO, 0, ["gains"]),
        (DoseChoice.AUTO, 3, ["gains", "full"]),
        (DoseChoice.FULL, None, ["full"]),
        (DoseChoice.FULL, 0, ["full"]),
        (DoseChoice.FULL, 2, ["full"]),
    ],
)
def test_out_of_time_one_candidate_is_coded_and_nothing_is_searched(
    monkeypatch: pytest.MonkeyPatch,
    tiny_teacher_base: LoadedBase,
    patch: Patch,
    objective: Objective,
    choice: DoseChoice,
    out_in: int | None,
    coded: list[str],
) -> None:
    """`out_in`: the phase whose first step takes all the seconds; None: there were none to begin with."""
    now, scored = 0.0, 0
    monkeypatch.setattr(time, "monotonic", lambda: now)
    run = Counting(patch, objective)

    def tell(_: Progress) -> None:
        nonlocal now, scored
        if climb.number == out_in:
            now, scored = 10.0, run.scored

    clock = Clock(Budget(steps=80, seconds=0.0 if out_in is None else 10.0))
    scales = Scales(run, tiny_teacher_base, Terms(1e-6, 10**5), epoch=0)
    climb = Climb(scales, Learner(OverfitRecipe()), choice, clock, tell, None)
    scored = run.scored
    climb.run()
    assert [candidate.kind.value for candidate in climb.candidates] == coded
    assert run.scored - scored == len(coded[-1:]) * len(run.tiles)
    assert climb.outcome().kind.value == (coded or ["none"])[-1]


def test_a_phase_ends_where_the_tiles_kept_apart_gain_no_more(
    monkeypatch: pytest.MonkeyPatch, tiny_teacher_base: LoadedBase, patch: Patch, objective: Objective
) -> None:
    """Nothing is learnt here: two looks after the first halve the rate, and two more are enough."""
    monkeypatch.setattr(specialise_module, "CHECK_EVERY", 3)
    objective.targets = [objective.targets[0]] * 2 * HELD_OUT
    frozen = OverfitRecipe(rates=dict.fromkeys(Group, 0.0))
    told: list[Progress] = []
    clock, terms = Clock(Budget(steps=10**5)), Terms(1e-6, 10**5)
    scales = Scales(Overfit(patch, objective), tiny_teacher_base, terms, epoch=0)
    Climb(scales, Learner(frozen), DoseChoice.GAINS, clock, told.append, None).run()
    assert len(told) == len(Stage) * 5 * 3


class Recording(Overfit):
    """Notes in what steps, and at what fraction of the rates, it is trained."""

    def __init__(self, patch: Patch, objective: Objective) -> None:
        super().__init__(patch, objective)
        self.noted: list[tuple[Steps | None, float]] = []

    def step(self, learner: Learner, steps: Steps | None, fraction: float) -> tuple[float, float]:
        self.noted.append((steps, fraction))
        return super().step(learner, steps, fraction)


def test_what_is_sent_is_trained_in_its_steps_at_rates_that_fall_to_zero(
    tiny_teacher_base: LoadedBase, patch: Patch, objective: Objective
) -> None:
    run, clock = Recording(patch, objective), Clock(Budget(steps=30))
    scales = Scales(run, tiny_teacher_base, Terms(1e-6, 10**5), epoch=0)
    climb = Climb(scales, Learner(OverfitRecipe()), DoseChoice.GAINS, clock, lambda _: None, None)
    climb.run()
    free, trial, final = run.noted[:9], run.noted[9:18], run.noted[18:]
    for phase in (free, trial, final):
        cosine = [0.5 + 0.5 * math.cos(math.pi * n / len(phase)) for n in range(len(phase))]
        assert [fraction for _, fraction in phase] == pytest.approx(cosine)
    assert all(steps is None for steps, _ in free)
    (tried, _), (sent, _) = trial[0], final[0]
    assert tried is not None
    assert sent is not None
    assert all(steps == tried for steps, _ in trial)
    assert all(steps == sent for steps, _ in final)
    assert sent != tried
    assert climb.candidates == [scales.weigh(DoseKind.GAINS, sent)]


def test_no_steps_are_a_dose_of_nothing(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    dosed = dose(tiny_teacher_base, targets, DoseChoice.FULL, budget=Budget(steps=0))
    assert dosed.dose is not None
    assert parse_dose(dosed.dose, tiny_teacher_base).changes == ()
    assert dosed.loss_after == pytest.approx(dosed.loss_before)


def test_a_later_epoch_builds_on_an_earlier_one(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    first = dose(tiny_teacher_base, targets, DoseChoice.FULL)
    assert first.dose is not None
    chain = (first.dose,)
    second = dose(tiny_teacher_base, targets, DoseChoice.GAINS, parents=chain, budget=Budget(steps=4))
    assert second.dose is not None
    assert second.loss_before == pytest.approx(first.loss_after, rel=1e-3)
    assert parse_dose(second.dose, tiny_teacher_base).parent == prefix(digest_of(first.dose))
    both = dosed_student(tiny_teacher_base, [first.dose, second.dose])
    assert both not in (tiny_teacher_base.student, dosed_student(tiny_teacher_base, [first.dose]))
