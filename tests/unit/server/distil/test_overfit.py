import numpy as np
import pytest
import torch
from torch.func import functional_call

from microdose.base import LoadedBase
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.distance import distortion, reference_of
from microdose_server.distil.overfit import Budget, Overfit, OverfitRecipe, overfit
from microdose_server.distil.progress import Progress
from microdose_server.distil.tiles import Tile, cut
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe

RECIPE = OverfitRecipe()


def nothing(_: Progress) -> None:
    """Tell nobody."""


def test_zero_change_is_the_generic_student(run: Overfit) -> None:
    for grid in (None, 0.02, 0.16):
        for name, value in run.weights(grid).items():
            assert torch.equal(value, run.generic[name]), name


def test_no_steps_change_nothing(run: Overfit) -> None:
    overfit(run, RECIPE, (0.0, 1.0), Budget(steps=0), None, nothing)
    assert not any(bool(u.any()) for u in run.u.values())


def test_only_micro_rn_may_change(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    assert set(run.u) == {slot.name for slot in tiny_teacher_base.document.tensors}
    assert not any(parameter.requires_grad for parameter in run.student.parameters())


def test_a_few_steps_lower_the_loss(run: Overfit) -> None:
    before = run.score(run.generic, run.tiles)
    told: list[Progress] = []
    overfit(run, RECIPE, (0.0, 1.0), Budget(steps=12), None, told.append)
    assert run.score(run.weights(None), run.tiles) < before
    assert [progress.step for progress in told] == list(range(1, 13))
    assert {progress.steps for progress in told} == {12}
    original = student_from_onnx_state(run)
    for name, value in run.student.state_dict().items():
        assert torch.equal(value, original[name]), name


def student_from_onnx_state(run: Overfit) -> dict[str, torch.Tensor]:
    """The student's own tensors: what overfitting must leave alone."""
    return {**run.student.state_dict(), **run.generic}


def test_on_the_grid_every_change_is_a_multiple_of_the_step(disturbed: Overfit) -> None:
    for name, value in disturbed.weights(0.04).items():
        steps = (value - disturbed.generic[name]).detach() / (0.04 * disturbed.rms[name])
        exact = disturbed.u[name].detach() / 0.04
        torch.testing.assert_close(steps, torch.round(steps), atol=1e-2, rtol=0.0)
        assert ((steps - exact).abs() <= 2.0 / 3.0 + 1e-2).all()
        assert (steps.abs() <= exact.abs() + 1.0 / 3.0 + 1e-2).all()


def test_rounding_to_the_grid_passes_the_gradient(disturbed: Overfit) -> None:
    name, u = next(iter(disturbed.u.items()))
    disturbed.weights(0.08)[name].sum().backward()
    assert u.grad is not None
    torch.testing.assert_close(u.grad, torch.full_like(u, disturbed.rms[name]))


def test_changes_are_pulled_to_zero(run: Overfit) -> None:
    """Far stronger than any gradient, the pull keeps all weights where they are."""
    overfit(run, OverfitRecipe(pull=1e6), (0.0, 1.0), Budget(steps=2), None, nothing)
    assert not any(bool(u.any()) for u in run.u.values())


def test_the_pull_makes_changes_sparse(run: Overfit, tiny_teacher_base: LoadedBase) -> None:
    free = Overfit(student_from_onnx(tiny_teacher_base.student), run.targets, run.lpips, "cpu")
    for each, pull in ((run, 0.25), (free, 0.0)):
        overfit(each, OverfitRecipe(pull=pull), (0.0, 1.0), Budget(steps=6), None, nothing)
    shares = [
        float(np.mean(np.concatenate([(u == 0).detach().numpy().ravel() for u in each.u.values()])))
        for each in (run, free)
    ]
    assert shares[0] > shares[1]


def test_a_budget_in_seconds_ends_early(run: Overfit) -> None:
    told: list[Progress] = []
    overfit(run, RECIPE, (0.0, 1.0), Budget(steps=10**6, seconds=0.05), None, told.append)
    assert 1 <= len(told) < 10**4
    assert told[0].steps == 10**6


def test_a_span_is_a_part_of_the_steps(run: Overfit) -> None:
    told: list[Progress] = []
    overfit(run, RECIPE, (0.6, 1.0), Budget(steps=5), 0.02, told.append)
    assert [progress.step for progress in told] == [4, 5]


def test_the_score_weighs_tiles_by_their_area(run: Overfit, lpips: LPIPS) -> None:
    tiles = run.tiles
    losses = [float(run.loss(run.generic, tile)[0]) for tile in tiles]
    areas = [(tile.bottom - tile.top) * (tile.right - tile.left) for tile in tiles]
    assert len(set(areas)) > 1
    assert run.score(run.generic, tiles) == pytest.approx(np.dot(losses, areas) / sum(areas), rel=1e-5)


def test_the_loss_of_a_tile_is_the_distortion_of_its_pixels(run: Overfit, lpips: LPIPS) -> None:
    tile = run.tiles[0]
    y_hat, target, (rows, columns) = cut(run.targets[0], tile)
    with torch.no_grad():
        x_hat = functional_call(run.student, run.generic, (y_hat,))[..., rows, columns]
        expected = float(distortion(x_hat, reference_of(target, lpips), lpips, Recipe()))
    for _ in range(2):  # the second time the reference's features are at hand
        loss, mse = run.loss(run.generic, tile)
        assert float(loss) == pytest.approx(expected, rel=1e-5)
        assert mse == pytest.approx(float(((x_hat - target) ** 2).mean()), rel=1e-5)


def test_samples_are_spread_over_the_sequence(run: Overfit) -> None:
    assert run.sample(8) == run.tiles
    run.tiles = [Tile(picture, 0, 1, 0, 1) for picture in range(100)]
    assert [tile.picture for tile in run.sample(4)] == [12, 37, 62, 87]
    assert run.sample(100) == run.tiles
