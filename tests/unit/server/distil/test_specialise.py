import pytest

from microdose.base import LoadedBase
from microdose.dose import DoseKind, parse_dose
from microdose.resources import DoseChoice
from microdose_server.distil.progress import Progress
from microdose_server.distil.specialise import GRIDS, Budget, Dosed, Target, specialise


def dose(
    base: LoadedBase,
    targets: list[Target],
    choice: DoseChoice,
    *,
    lmbda: float | None = None,
    budget: Budget | None = None,
    told: list[Progress] | None = None,
) -> Dosed:
    return specialise(
        base,
        targets,
        choice=choice,
        lmbda=lmbda,
        budget=budget or Budget(steps=10),
        epoch=5,
        report=(told if told is not None else []).append,
    )


def test_a_dose_brings_the_student_nearer_to_the_teacher(
    tiny_teacher_base: LoadedBase, targets: list[Target]
) -> None:
    told: list[Progress] = []
    dosed = dose(tiny_teacher_base, targets, DoseChoice.FULL, lmbda=1e-3, told=told)
    assert dosed.kind is DoseKind.FULL
    assert dosed.dose is not None
    assert dosed.loss_after < dosed.loss_before
    assert [progress.step for progress in told] == list(range(1, 11))
    parsed = parse_dose(dosed.dose, tiny_teacher_base)
    assert parsed.epoch == 5
    assert parsed.changes


def test_bytes_that_cost_too_much_are_not_sent(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    """One small picture cannot pay for a decoder, whatever the price."""
    for lmbda, pictures in ((1e9, targets), (None, targets[1:])):
        dosed = dose(tiny_teacher_base, pictures, DoseChoice.AUTO, lmbda=lmbda, budget=Budget(steps=2))
        assert (dosed.dose, dosed.kind) == (None, DoseKind.NONE)
        assert dosed.loss_after == dosed.loss_before


def test_bytes_that_cost_nothing_are_sent(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    dosed = dose(tiny_teacher_base, targets, DoseChoice.AUTO, lmbda=1e-9)
    assert dosed.kind is DoseKind.FULL
    assert dosed.loss_after < dosed.loss_before


def test_a_full_dose_is_sent_at_any_price(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    dosed = dose(tiny_teacher_base, targets, DoseChoice.FULL, lmbda=1e9, budget=Budget(steps=2))
    assert dosed.kind is DoseKind.FULL
    assert dosed.dose is not None


def test_none_trains_nothing(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    told: list[Progress] = []
    dosed = dose(tiny_teacher_base, targets, DoseChoice.NONE, told=told)
    assert dosed == Dosed(None, DoseKind.NONE, 0.0, 0.0)
    assert not told


def test_a_budget_in_seconds_ends_early(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    told: list[Progress] = []
    dose(tiny_teacher_base, targets, DoseChoice.AUTO, budget=Budget(steps=10**6, seconds=0.1), told=told)
    assert 2 <= len(told) < 10**4
    assert {progress.steps for progress in told} == {10**6}


def test_no_steps_are_a_dose_of_nothing(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    dosed = dose(tiny_teacher_base, targets, DoseChoice.FULL, budget=Budget(steps=0))
    assert dosed.dose is not None
    assert parse_dose(dosed.dose, tiny_teacher_base).changes == ()
    assert dosed.loss_after == pytest.approx(dosed.loss_before)


def test_a_high_price_picks_a_coarse_grid(tiny_teacher_base: LoadedBase, targets: list[Target]) -> None:
    sizes = []
    for lmbda in (1e-9, 100.0):
        dosed = dose(tiny_teacher_base, targets, DoseChoice.FULL, lmbda=lmbda, budget=Budget(steps=6))
        assert dosed.dose is not None
        sizes.append(len(dosed.dose))
    assert sizes[1] < sizes[0]
    assert list(GRIDS) == sorted(GRIDS)
