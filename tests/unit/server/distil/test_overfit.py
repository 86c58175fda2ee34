import numpy as np
import pytest
import torch
from torch import Tensor

from microdose.dose import DoseKind
from microdose_server.distil.objective import Objective
from microdose_server.distil.overfit import (
    HELD_OUT,
    JUDGED_TILES,
    MOST_HALVINGS,
    PATIENCE,
    SEARCHED_TILES,
    Learner,
    Overfit,
    OverfitRecipe,
    Plateau,
)
from microdose_server.distil.patch import Group, Patch
from microdose_server.distil.tiles import Target, Tile
from microdose_server.training.lpips import Phase


def test_learning_brings_the_student_nearer_to_the_teacher(run: Overfit) -> None:
    learner = Learner(OverfitRecipe())
    before = run.score({}, run.tiles)
    for _ in range(12):
        run.step(learner, None, 1.0)
    assert run.score(run.patch.weights(None), run.tiles) < before
    assert learner.steps == 12


def test_lpips_sees_a_tile_in_another_phase_each_time(run: Overfit, monkeypatch: pytest.MonkeyPatch) -> None:
    seen, whole = [], run.objective.loss

    def watched(weights: dict[str, Tensor], tile: Tile, phase: Phase) -> tuple[Tensor, float]:
        seen.append(phase)
        return whole(weights, tile, phase)

    monkeypatch.setattr(run.objective, "loss", watched)
    for _ in range(4):
        run.step(Learner(OverfitRecipe()), None, 1.0)
    assert len(set(seen)) > 1


def test_the_same_seed_learns_the_same(patch: Patch, objective: Objective) -> None:
    found = []
    for _ in range(2):
        patch.deltas = {}
        patch.climb(DoseKind.GAINS)
        run, learner = Overfit(patch, objective, seed=3), Learner(OverfitRecipe())
        for _ in range(3):
            run.step(learner, None, 1.0)
        found.append({name: u.detach().clone() for name, u in patch.leaves().items()})
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])


def test_matrices_alone_are_pulled_to_zero(run: Overfit) -> None:
    run.patch.climb(DoseKind.FULL)
    learner = Learner(OverfitRecipe(pull=1e6))
    for _ in range(2):
        run.step(learner, None, 1.0)
    for delta in run.patch.deltas.values():
        moved = bool(delta.leaves[0].any())
        assert moved is not (delta.group is Group.MATRIX) or delta.group is Group.KERNEL


def test_the_loss_minds_some_tensors_more_than_others(run: Overfit) -> None:
    learner = Learner(OverfitRecipe())
    assert learner.sensitivity(next(iter(run.patch.deltas))) == 0.0
    for _ in range(2):
        run.step(learner, None, 1.0)
    found = {delta.name: learner.sensitivity(key) for key, delta in run.patch.deltas.items()}
    assert found["out.weight"] > 10.0 * found["micro.0.first.depthwise.weight"]


def test_the_score_weighs_tiles_by_their_area(run: Overfit) -> None:
    losses = [float(run.objective.distortion({}, tile)) for tile in run.tiles]
    areas = [tile.area for tile in run.tiles]
    assert len(set(areas)) > 1
    assert run.score({}, run.tiles) == pytest.approx(np.dot(losses, areas) / sum(areas), rel=1e-5)


def test_samples_are_spread_over_the_sequence(patch: Patch, objective: Objective, run: Overfit) -> None:
    assert set(run.judged) == set(run.searched) == set(run.tiles)
    objective.targets = many(960)
    run = Overfit(patch, objective)
    assert len(run.judged) == JUDGED_TILES
    assert len(run.searched) == SEARCHED_TILES
    assert set(run.searched) < set(run.judged) < set(run.tiles)
    for sample in (run.judged, run.searched):
        stretches = [tile.picture * len(sample) // 960 for tile in sample]
        assert sorted(stretches) == list(range(len(sample)))
    again = Overfit(patch, objective)
    assert (again.judged, again.searched, again.trained) == (run.judged, run.searched, run.trained)


@pytest.mark.parametrize("size", [(32, 48), (45, 80), (68, 120)])
def test_no_place_of_pictures_is_neglected(patch: Patch, objective: Objective, size: tuple[int, int]) -> None:
    """Of 768x512, 1280x720 and 1920x1080: though tiles are counted off, picture after picture."""
    objective.targets = [Target(np.zeros((16, *size), np.float32), np.zeros((1, 1, 3), np.uint8))] * 24
    run = Overfit(patch, objective)
    places = {(tile.top, tile.left) for tile in run.tiles}
    assert {(tile.top, tile.left) for tile in run.trained} == places
    for sample in (run.judged, run.watched):
        assert len({(tile.top, tile.left) for tile in sample}) > 3


def many(count: int) -> list[Target]:
    return [Target(np.zeros((16, 2, 2), np.float32), np.zeros((32, 32, 3), np.uint8))] * count


def test_tiles_are_drawn_over_the_whole_sequence_and_some_never(patch: Patch, objective: Objective) -> None:
    objective.targets = many(2 * HELD_OUT)
    run = Overfit(patch, objective)
    drawn = [run.draw() for _ in range(3 * len(run.trained))]
    assert len(run.held_out) == 2
    assert all(drawn.count(tile) == 3 for tile in run.trained)
    assert set(drawn) | set(run.held_out) == set(run.tiles)
    assert not set(drawn) & set(run.held_out)


def test_of_few_tiles_none_is_kept_apart(patch: Patch, objective: Objective) -> None:
    objective.targets = many(2 * HELD_OUT - 1)
    assert Overfit(patch, objective).held_out == []


def test_a_plateau_halves_the_rate_and_is_over_when_that_is_no_help() -> None:
    plateau = Plateau()
    assert [plateau.over(score) for score in (1.0, 0.9, 0.95)] == [False] * 3
    assert plateau.fraction == 1.0
    assert not plateau.over(0.91)
    assert plateau.fraction == 0.5
    assert not plateau.over(0.8)
    over = [plateau.over(0.7999) for _ in range(PATIENCE * MOST_HALVINGS)]
    assert over == [False] * (len(over) - 1) + [True]
    assert plateau.fraction == 0.5 ** (MOST_HALVINGS + 1)
