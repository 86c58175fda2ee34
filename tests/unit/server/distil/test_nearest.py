"""Where a dose starts from: the student that is nearest already."""

from microdose.base import LoadedBase
from microdose.resources import DoseChoice
from microdose_server.distil.nearest import nearest
from microdose_server.distil.specialise import Budget, Target, specialise


def dose(base: LoadedBase, targets: list[Target]) -> bytes:
    dosed = specialise(
        base,
        targets,
        choice=DoseChoice.FULL,
        lmbda=1e-6,
        budget=Budget(24),
        epoch=0,
        report=lambda progress: None,
    )
    assert dosed.dose is not None
    return dosed.dose


def test_a_dose_for_these_pictures_is_nearer_than_none(
    tiny_teacher_base: LoadedBase, targets: list[Target]
) -> None:
    found = dose(tiny_teacher_base, targets)
    assert nearest(tiny_teacher_base, targets, [(), (found,)]) == 1
    assert nearest(tiny_teacher_base, targets, [(found,), ()]) == 0


def test_one_way_to_start_is_not_looked_at(tiny_teacher_base: LoadedBase) -> None:
    assert nearest(tiny_teacher_base, [], [(b"no dose",)]) == 0
