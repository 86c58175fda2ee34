import math

import numpy as np
import pytest
import torch

from microdose.base import LoadedBase
from microdose.decoder import Decoder, to_pixels
from microdose.dose import DoseKind, dosed_student, parse_dose
from microdose_server.codec.encode import Encoder
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import SEARCHED_TILES, Learner, Overfit, OverfitRecipe
from microdose_server.distil.patch import FINEST, NOTHING, Patch
from microdose_server.distil.rate import (
    DEFAULT_LMBDA,
    NARROWEST,
    SEARCHED_SHARE,
    Candidate,
    Scales,
    Terms,
    cheapest,
    steps_at,
    walk,
)
from microdose_server.distil.tiles import Target
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS
from tests.unit.server.distil.conftest import Counting, disturb

PIXELS = 31_100


def scales_of(run: Overfit, base: LoadedBase, lmbda: float = 0.75, most_bytes: int | None = None) -> Scales:
    return Scales(run, base, Terms(lmbda, PIXELS, most_bytes), epoch=2)


def test_a_candidate_is_scored_as_a_client_will_decode_it(
    run: Overfit, tiny_teacher_base: LoadedBase
) -> None:
    disturb(run.patch)
    found = scales_of(run, tiny_teacher_base).weigh(DoseKind.GAINS, dict.fromkeys(run.patch.deltas, 2.0**-6))
    assert found.blob is not None
    dose = parse_dose(found.blob, tiny_teacher_base)
    assert (dose.kind, dose.epoch) == (DoseKind.GAINS, 2)
    student = student_from_onnx(dosed_student(tiny_teacher_base, [found.blob]))
    decoded = run.score(dict(student.named_parameters()), run.tiles)
    assert found.distortion == pytest.approx(decoded, rel=1e-4)
    assert found.cost == pytest.approx(found.distortion + 0.75 * 8 * len(found.blob) / PIXELS)


def test_a_client_paints_what_was_trained(
    run: Overfit, tiny_encoder: Encoder, photographs: list[Pixels]
) -> None:
    disturb(run.patch)
    steps = dict.fromkeys(run.patch.deltas, 2.0**-6)
    blob = scales_of(run, tiny_encoder.base).weigh(DoseKind.GAINS, steps).blob
    assert blob is not None
    encoded = tiny_encoder.encode(photographs[0][:64, :80])
    made = Decoder(tiny_encoder.base, blob, threads=1).decode(encoded.segment).pixels
    generic = Decoder(tiny_encoder.base, threads=1).decode(encoded.segment).pixels
    both = run.objective._run(run.patch.weights(steps), torch.from_numpy(encoded.y_hat)[None])[1]
    trained = to_pixels(both[0].detach().numpy())[:64, :80]
    assert np.abs(made.astype(int) - trained).max() <= 1
    assert np.abs(made.astype(int) - generic).max() > 1


def test_doses_are_judged_on_more_tiles_than_scales(
    patch: Patch, tiny_teacher_base: LoadedBase, targets: list[Target], lpips: LPIPS
) -> None:
    """On all of those, so that what wins has not only been chosen for the fewer."""
    student = student_from_onnx(tiny_teacher_base.student)
    run = Counting(patch, Objective(student, targets * 20, lpips, "cpu"))
    assert set(run.searched) < set(run.judged) < set(run.tiles)
    patch.climb(DoseKind.GAINS)
    disturb(patch)
    steps = dict.fromkeys(patch.deltas, 2.0**-6)
    scales, judged = scales_of(run, tiny_teacher_base), run.judged
    assert scales.nothing().distortion == run.score({}, judged)
    assert scales.weigh(DoseKind.GAINS, steps).distortion == run.score(patch.weights(steps), judged)
    scored, looks = run.scored, iter((False, *[True] * 4))
    scales.search(DoseKind.GAINS, Learner(OverfitRecipe()), 1e-3, lambda: next(looks))
    assert run.scored - scored == SEARCHED_TILES


def test_nothing_costs_its_distortion_alone(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    nothing = scales_of(run, tiny_teacher_base).nothing()
    assert (nothing.kind, nothing.blob) == (DoseKind.NONE, None)
    assert nothing.cost == nothing.distortion == pytest.approx(run.score({}, run.tiles))


def test_bytes_above_the_cap_cost_all(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    disturb(run.patch)
    steps = dict.fromkeys(run.patch.deltas, 2.0**-6)
    assert math.isinf(scales_of(run, tiny_teacher_base, most_bytes=50).weigh(DoseKind.GAINS, steps).cost)
    assert Terms(1.0, 100, most_bytes=7).price(7) == pytest.approx(0.56)


def test_a_search_leaves_room_below_the_cap(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    """For what a dose grows by in training; though it begins far above, where all costs are infinite."""
    learner = Learner(OverfitRecipe())
    for _ in range(4):
        run.step(learner, None, 1.0)
    free, start = scales_of(run, tiny_teacher_base, lmbda=1e-9), 1e-5

    def size(scale: float) -> int:
        return len(free.weigh(DoseKind.GAINS, steps_at(scale, run.patch, learner)).blob or b"")

    cap = size(64.0 * start)
    bound = scales_of(run, tiny_teacher_base, lmbda=1e-9, most_bytes=cap)
    found = size(bound.search(DoseKind.GAINS, learner, start, lambda: False))
    assert 0.4 * cap < found <= SEARCHED_SHARE * cap < cap < size(start)


def test_what_a_distortion_is_worth() -> None:
    terms = Terms(0.5, 1000)
    assert terms.price(round(terms.worth(0.2))) == pytest.approx(0.2)
    assert Terms(0.5, 1000, most_bytes=10).worth(0.2) == 10


def test_matrices_are_pulled_harder_where_bytes_are_dearer() -> None:
    assert Terms(DEFAULT_LMBDA, 8_000_000).pull(0.08) == pytest.approx(0.08)
    assert Terms(DEFAULT_LMBDA, 1_000_000).pull(0.08) == pytest.approx(0.16)
    assert Terms(DEFAULT_LMBDA / 8, 8_000_000).pull(0.08) == pytest.approx(0.04)


def test_more_pixels_and_cheaper_bits_begin_at_finer_scales() -> None:
    first = Terms(0.75, 10**6).first_scale()
    assert Terms(0.75, 16 * 10**6).first_scale() == pytest.approx(first / 4.0)
    assert Terms(0.75 / 16, 10**6).first_scale() == pytest.approx(first / 4.0)
    modelled = math.sqrt(12.0 * 0.75 / (math.log(2.0) * 10**6))
    assert first == pytest.approx(modelled / 25.0)
    assert Terms(1e-30, 10**6).first_scale() == NARROWEST


def test_steps_are_finer_where_the_loss_minds_more(run: Overfit) -> None:
    learner = Learner(OverfitRecipe())
    for _ in range(2):
        run.step(learner, None, 1.0)
    steps = steps_at(1e-3, run.patch, learner)
    assert all(FINEST <= step <= NOTHING for step in steps.values())
    assert len(set(steps.values())) > 2
    order = sorted(run.patch.deltas, key=learner.sensitivity)
    assert [steps[key] for key in order] == sorted(steps.values(), reverse=True)


def test_coarser_scales_cost_fewer_bytes(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    learner = Learner(OverfitRecipe())
    for _ in range(4):
        run.step(learner, None, 1.0)
    scales = scales_of(run, tiny_teacher_base)
    sizes = []
    for scale in (1e-5, 1e-3, 1.0):
        blob = scales.weigh(DoseKind.GAINS, steps_at(scale, run.patch, learner)).blob
        sizes.append(len(blob or b""))
    assert sizes[0] > sizes[1] > sizes[2]
    cheap, dear = (
        scales_of(run, tiny_teacher_base, lmbda).search(DoseKind.GAINS, learner, 1e-3, lambda: False)
        for lmbda in (1e-6, 100.0)
    )
    assert cheap < dear


@pytest.mark.parametrize("looks", [0, 1, 2])
def test_a_search_ends_when_it_is_told_to(run: Overfit, tiny_teacher_base: LoadedBase, looks: int) -> None:
    """With the best of what it has weighed by then; that is where it began, if it has weighed nothing."""
    learner = Learner(OverfitRecipe())
    run.step(learner, None, 1.0)
    scales, asked = scales_of(run, tiny_teacher_base, lmbda=100.0), iter(range(10**6))
    found = scales.search(DoseKind.GAINS, learner, 2.0**-10, lambda: next(asked) >= looks)
    assert found == 2.0 ** (-9 if looks == 2 else -10)


@pytest.mark.parametrize("target", [-9, -1, 0, 2, 5, 2.5, -0.5])
def test_a_walk_ends_at_the_least_cost(target: float) -> None:
    assert walk(1.0, lambda x: abs(math.log2(x) - target)) == pytest.approx(2.0**target)


def test_the_cheapest_of_equals_is_the_first() -> None:
    one, other = (Candidate(kind, b"", 1.0, 1.0) for kind in (DoseKind.GAINS, DoseKind.FULL))
    assert cheapest([one, other]) is one
