from statistics import fmean

import numpy as np
import pytest

from microdose.dose import DoseKind
from microdose.resources import DoseAim, DoseChoice
from microdose_server.codec.encode import Encoder
from microdose_server.codec.graphs import student_to_onnx
from microdose_server.distil.rate import DEFAULT_LMBDA
from microdose_server.distil.specialise import Budget
from microdose_server.evaluate.metrics import lpips
from microdose_server.evaluate.quality import Quality
from microdose_server.evaluate.study import (
    Shown,
    Study,
    Variant,
    break_even,
    cost,
    gap_closed,
    to_json,
)
from tests.photos import photo
from tests.students import fresh

PICTURES = [photo(0, 130, 70), photo(9, 96, 64)]
NEAR, FAR = Quality(40.0, 0.1, 0.1, None), Quality(30.0, 0.2, 0.2, None)


def variant(near: Quality, dose_bytes: int = 0, bpp: float = 0.5) -> Variant:
    return Variant("x", dose_bytes, bpp, 1.0, near, FAR, None)


@pytest.fixture(scope="module")
def study(tiny_encoder: Encoder) -> Study:
    return Study.of(tiny_encoder, PICTURES, dists_of=0)


def judged(study: Study, *ways: Shown) -> list[Variant]:
    return list(study.judge(ways).values())


def test_every_byte_is_counted(study: Study) -> None:
    segments = sum(map(len, study.segments))
    bare = study.total_bytes(None, DoseKind.NONE)
    assert bare > segments
    assert study.total_bytes(b"d" * 1000, DoseKind.FULL) >= bare + 1000
    assert study.pixels == 130 * 70 + 96 * 64


def test_the_teacher_is_its_own_goal(study: Study) -> None:
    teacher, generic = judged(study, study.teacher(), study.generic())
    assert teacher.to_teacher.lpips < 1e-6
    assert generic.to_teacher.lpips > 1e-3
    assert teacher.to_original.lpips == fmean(
        lpips(picture, target.pixels) for picture, target in zip(PICTURES, study.targets, strict=True)
    )
    assert teacher.bpp_total == generic.bpp_total


def test_another_student_paints_otherwise(study: Study) -> None:
    generic, other = judged(study, study.generic(), study.generic("other", student_to_onnx(fresh())))
    assert other.name == "other"
    assert other.to_teacher.lpips != generic.to_teacher.lpips


def test_a_way_is_judged_alike_beside_others_and_alone(study: Study) -> None:
    ways = [study.teacher(), study.generic(), study.generic("other", student_to_onnx(fresh()))]
    together = study.judge(ways)
    assert list(together) == ["teacher", "generic", "other"]
    for way in reversed(ways):
        assert study.judge([way]) == {way.name: together[way.name]}


def test_a_dose_is_paid_for_and_shown(study: Study) -> None:
    dosed, generic = judged(
        study,
        study.dosed(DoseChoice.FULL, DoseAim.TEACHER, Budget(steps=2), lambda progress: None),
        study.generic(),
    )
    assert dosed.dose_bytes > 0
    assert dosed.bpp_total >= generic.bpp_total + 8 * dosed.dose_bytes / study.pixels
    assert dosed.seconds > 0.0
    assert to_json({"a": dosed})["a"]["to_teacher"]["lpips"] == dosed.to_teacher.lpips


def test_a_dose_aims_at_the_originals_or_at_the_teacher(study: Study) -> None:
    budget = Budget(steps=2)
    towards = {
        aim: study.distilled(DoseChoice.FULL, aim, budget, lambda progress: None).loss_before
        for aim in DoseAim
    }
    (generic,) = judged(study, study.generic())
    assert towards[DoseAim.TEACHER] == pytest.approx(generic.to_teacher.distortion, rel=0.2)
    assert towards[DoseAim.ORIGINALS] == pytest.approx(generic.to_original.distortion, rel=0.2)
    assert towards[DoseAim.TEACHER] < towards[DoseAim.ORIGINALS]
    for target, picture, of_teacher in zip(
        study.aimed_at(DoseAim.ORIGINALS), PICTURES, study.aimed_at(DoseAim.TEACHER), strict=True
    ):
        assert np.array_equal(target.pixels, picture)
        assert target.y_hat is of_teacher.y_hat


def test_the_gap_is_lpips_to_the_teacher() -> None:
    assert gap_closed(variant(NEAR), variant(FAR)) == 0.5
    assert gap_closed(variant(FAR), variant(FAR)) == 0.0


def test_a_dose_breaks_even_where_its_rate_costs_what_it_saves() -> None:
    saved = FAR.distortion - NEAR.distortion
    dosed, generic = variant(NEAR, dose_bytes=4000), variant(FAR)
    pictures = break_even(dosed, generic, pixels_per_picture=1000.0, lmbda=DEFAULT_LMBDA)
    assert pictures is not None
    assert DEFAULT_LMBDA * 8 * 4000 / 1000 / pictures <= saved
    assert DEFAULT_LMBDA * 8 * 4000 / 1000 / (pictures - 1) > saved
    assert break_even(variant(FAR, 10), variant(NEAR), 1000.0, 1.0) is None


def test_cost_is_distortion_and_rate() -> None:
    assert cost(variant(NEAR, bpp=0.2), 0.5) == pytest.approx(NEAR.distortion + 0.5 * 0.2)
