import math

import pytest
import torch

from microdose.base import LoadedBase
from microdose.changes import FORMS, Form, LowRank, code_of, step_of
from microdose.dose import Dose, DoseKind, apply_dose, pack_dose, parse_dose
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.patch import COARSEST, FINEST, NOTHING, RUNGS, Group, Patch
from tests.unit.server.distil.conftest import disturb

RUNG_NAMES = list(RUNGS)


def steps(patch: Patch, step: float = 2.0**-5) -> dict[str, float]:
    return dict.fromkeys(patch.deltas, step)


@pytest.mark.parametrize("rung", RUNG_NAMES)
def test_a_fresh_patch_changes_nothing(patch: Patch, rung: DoseKind) -> None:
    patch.climb(rung)
    assert {delta.group for delta in patch.deltas.values()} == set(RUNGS[rung])
    for name, value in patch.weights(None).items():
        assert torch.equal(value, patch.generic[name])
    assert patch.changes(steps(patch)) == ()


@pytest.mark.parametrize("rung", RUNG_NAMES)
def test_a_client_gets_the_weights_that_were_trained(
    patch: Patch, tiny_teacher_base: LoadedBase, rung: DoseKind
) -> None:
    base = tiny_teacher_base
    patch.climb(rung)
    disturb(patch)
    changes = patch.changes(steps(patch))
    blob = pack_dose(Dose(base.prefix, 0, rung, changes), base)
    dosed = student_from_onnx(apply_dose(base.student, base, parse_dose(blob, base))).state_dict()
    trained = patch.weights(steps(patch))
    assert set(trained) == set(dosed)
    for name, value in dosed.items():
        torch.testing.assert_close(value, trained[name].detach(), atol=1e-6, rtol=1e-5)


def test_every_rung_holds_the_one_below(patch: Patch) -> None:
    patch.climb(DoseKind.GAINS)
    disturb(patch)
    before = {name: u.detach().clone() for name, u in patch.leaves().items()}
    for rung in (DoseKind.LOW_RANK, DoseKind.FULL):
        patch.climb(rung)
        now = patch.leaves()
        assert len(now) > len(before)
        for name, u in before.items():
            assert torch.equal(now[name].detach(), u)
    assert not any(delta.group is Group.FACTOR for delta in patch.deltas.values())


def test_each_rung_has_more_to_change_than_the_one_before(patch: Patch) -> None:
    sizes = []
    for rung in RUNGS:
        patch.climb(rung)
        sizes.append(sum(u.numel() for u in patch.leaves().values()))
    assert sizes == sorted(sizes)
    assert sizes[0] < 1000 < sizes[2]


def test_steps_are_such_as_have_a_code(patch: Patch) -> None:
    for rung in RUNGS:
        patch.climb(rung)
        disturb(patch)
        for step in (FINEST, 0.1, 2.0**-2.5, COARSEST):
            coded = {key: delta.coded(step) for key, delta in patch.deltas.items()}
            assert all(found == pytest.approx(step, rel=0.07) for found in coded.values())
            for change in patch.changes(coded):
                assert step_of(code_of(change.step)) == pytest.approx(change.step, rel=1e-12)


def test_a_step_that_is_too_fine_or_coarse_for_a_code_has_the_nearest(patch: Patch) -> None:
    patch.climb(DoseKind.LOW_RANK)
    for delta in patch.deltas.values():
        assert delta.coded(1e-9) == FINEST
        assert delta.coded(1.01 * COARSEST) == delta.coded(1e9) == NOTHING
        assert delta.coded(FINEST) < delta.coded(math.sqrt(2.0) * FINEST) < delta.coded(2.0 * FINEST)


def test_what_is_many_is_rounded_towards_zero(patch: Patch) -> None:
    """Up from two thirds of a step; a gain or bias, of which there are few, from a half."""
    for rung in RUNGS:
        patch.climb(rung)
        for delta in patch.deltas.values():
            few = delta.group in (Group.GAIN, Group.BIAS)
            u = torch.tensor([0.45, 0.55, 0.63, 0.7, -0.63, -0.7, 1.63, 1.7]) / 8.0
            rounded = [0, 1, 1, 1, -1, -1, 2, 2] if few else [0, 0, 0, 1, 0, -1, 1, 2]
            assert delta.in_steps(u, 1.0 / 8.0).tolist() == rounded


def test_nothing_is_sent_in_steps_over_the_coarsest(patch: Patch) -> None:
    patch.climb(DoseKind.FULL)
    disturb(patch)
    assert patch.changes(steps(patch, NOTHING)) == ()
    for name, value in patch.weights(steps(patch, NOTHING)).items():
        assert torch.equal(value, patch.generic[name])


def test_gradients_pass_the_rounding(patch: Patch) -> None:
    patch.climb(DoseKind.LOW_RANK)
    disturb(patch)
    torch.stack([value.sum() for value in patch.weights(steps(patch)).values()]).sum().backward()
    assert all(u.grad is not None and bool(u.grad.isfinite().all()) for u in patch.leaves().values())


def test_factors_of_nothing_are_left_out(patch: Patch) -> None:
    patch.climb(DoseKind.LOW_RANK)
    disturb(patch)
    with torch.no_grad():
        for delta in patch.deltas.values():
            if delta.group is Group.FACTOR:
                delta.leaves[0][:, 1:] = 0.0
    products = [change for change in patch.changes(steps(patch)) if FORMS[type(change)] is Form.LOW_RANK]
    assert products
    assert all(isinstance(change, LowRank) and change.left.shape[1] == 1 for change in products)
