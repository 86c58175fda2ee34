import pytest
import torch
from torch.func import functional_call

from microdose.base import LoadedBase
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.student import student_from_onnx
from microdose_server.distil.distance import DISTANCE, distortion, reference_of
from microdose_server.distil.objective import Objective, fit_adapter, own_phase
from microdose_server.distil.overfit import Overfit
from microdose_server.distil.tiles import Target, Tile, cut
from microdose_server.training.lpips import LPIPS, PHASES


def make(base: LoadedBase, targets: list[Target], lpips: LPIPS, **weights: float) -> Objective:
    torch.manual_seed(0)
    critic = Discriminator(targets[0].y_hat.shape[0]) if weights.get("beta") else None
    return Objective(
        student_from_onnx(base.student),
        targets,
        lpips,
        "cpu",
        features=weights.get("features", 0.0),
        beta=weights.get("beta", 0.0),
        discriminator=critic,
    )


def test_the_loss_of_a_tile_is_the_distortion_of_its_pixels(
    run: Overfit, tiny_teacher_base: LoadedBase, lpips: LPIPS
) -> None:
    tile = run.tiles[0]
    piece = cut(run.objective.targets[0], tile)
    with torch.no_grad():
        student = student_from_onnx(tiny_teacher_base.student)
        x_hat = functional_call(student, {}, (piece.y_hat,))[..., piece.inside[0], piece.inside[1]]
        expected, judged = (
            float(distortion(x_hat, reference_of(piece.pixels, lpips, phase), lpips, DISTANCE))
            for phase in ((3, 10), own_phase(tile))
        )
    loss, mse = run.objective.loss({}, tile, (3, 10))
    assert float(loss) == pytest.approx(expected, rel=1e-5)
    assert mse == pytest.approx(float(((x_hat - piece.pixels) ** 2).mean()), rel=1e-5)
    for _ in range(2):  # the second time the reference's features are at hand
        assert float(run.objective.distortion({}, tile)) == pytest.approx(judged, rel=1e-5)


def test_tiles_are_judged_in_phases_of_their_own() -> None:
    tiles = [
        Tile(picture, top, top + 16, left, left + 16)
        for picture in (0, 1)
        for top in (0, 16)
        for left in (0, 16)
    ]
    phases = [own_phase(tile) for tile in tiles]
    assert phases == [own_phase(tile) for tile in tiles]
    assert len(set(phases)) > len(tiles) // 2
    assert all(0 <= part < PHASES for phase in phases for part in phase)


def test_features_begin_as_a_share_of_the_distortion(
    run: Overfit, tiny_teacher_base: LoadedBase, targets: list[Target], lpips: LPIPS
) -> None:
    objective = make(tiny_teacher_base, targets, lpips, features=0.25)
    plain = [float(objective.loss({}, tile)[0]) for tile in run.tiles]
    objective.fit_features(run.tiles)
    both = [float(objective.loss({}, tile)[0]) for tile in run.tiles]
    start = sum(float(objective.distortion({}, tile)) for tile in run.tiles)
    assert sum(both) - sum(plain) == pytest.approx(0.25 * start, rel=1e-3)


@pytest.mark.parametrize("missing", [1, 2])
def test_features_ask_for_targets_that_all_have_some(
    run: Overfit, tiny_teacher_base: LoadedBase, targets: list[Target], lpips: LPIPS, missing: int
) -> None:
    bare = [Target(target.y_hat, target.pixels) for target in targets[:missing]]
    objective = make(tiny_teacher_base, bare + targets[missing:], lpips, features=0.25)
    plain = float(objective.loss({}, run.tiles[0])[0])
    objective.fit_features(run.tiles[-1:])  # which are of the last picture
    assert float(objective.loss({}, run.tiles[0])[0]) == plain


def test_the_adapter_is_the_best_linear_one() -> None:
    torch.manual_seed(0)
    trunk, weight = torch.randn(1, 5, 12, 12), torch.randn(7, 5)
    tower = torch.einsum("dc,nchw->ndhw", weight, trunk) + 3.0
    adapter = fit_adapter([trunk], [tower])
    torch.testing.assert_close(adapter[:, :-1], weight, atol=0.02, rtol=0.02)
    torch.testing.assert_close(adapter[:, -1], torch.full((7,), 3.0), atol=0.02, rtol=0.02)


def test_an_adversary_adds_what_it_finds_wrong(
    run: Overfit, tiny_teacher_base: LoadedBase, targets: list[Target], lpips: LPIPS
) -> None:
    tile = run.tiles[0]
    plain = float(make(tiny_teacher_base, targets, lpips).loss({}, tile)[0])
    objective = make(tiny_teacher_base, targets, lpips, beta=0.15)
    run.objective = objective
    loss, _ = objective.loss(run.patch.weights(None), tile)
    assert loss.item() > plain + 0.01
    loss.backward()
    assert all(u.grad is not None for u in run.patch.leaves().values())
    with pytest.raises(ValueError, match="discriminator"):
        Objective(student_from_onnx(tiny_teacher_base.student), targets, lpips, "cpu", beta=0.1)
