import math
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch

from microdose.errors import BadUpload, Diverged, UnsupportedVersion
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import load_state
from microdose_server.training.data import Pixels
from microdose_server.training.loop import Budget, Run, StepReport, must_be_finite, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.prior import PriorRun
from microdose_server.training.recipe import RATE_BATCHES, Recipe, StageThree, StageTwo

RECIPE = Recipe(batch=2, crop=64)
ADVERSARIAL = StageTwo(batch=2, crop=64)


class Killed(Exception):
    """What a test ends a run with."""


def fresh(recipe: Recipe = RECIPE) -> Run:
    torch.manual_seed(7)
    return Run(Teacher(PRESETS["tiny"]), recipe, "cpu")


def fresh_adversary(recipe: StageTwo = ADVERSARIAL) -> AdversarialRun:
    torch.manual_seed(7)
    return AdversarialRun(Teacher(PRESETS["tiny"]), recipe, "cpu")


def fresh_prior() -> PriorRun:
    torch.manual_seed(1)
    return PriorRun(Teacher(PRESETS["tiny"]), StageThree(batch=2, crop=64), "cpu")


def nothing(_: StepReport) -> None:
    """Tell nobody."""


def untimed(report: StepReport) -> StepReport:
    return report._replace(seconds=0.0, waiting=0.0)


def assert_equal(first: object, second: object, place: str = "") -> None:
    """Every number of two nested structures, bit by bit."""
    assert type(first) is type(second), place
    if isinstance(first, torch.Tensor) and isinstance(second, torch.Tensor):
        assert torch.equal(first, second), place
    elif isinstance(first, dict) and isinstance(second, dict):
        assert first.keys() == second.keys(), place
        for key, value in first.items():
            assert_equal(value, second[key], f"{place}/{key}")
    elif isinstance(first, list) and isinstance(second, list):
        assert_equal(dict(enumerate(first)), dict(enumerate(second)), place)
    else:
        assert first == second, place


@pytest.mark.parametrize(
    ("start", "stage", "half"), [(fresh, 1, 10), (fresh_adversary, 2, 3), (fresh_prior, 3, 3)]
)
def test_some_steps_a_kill_and_as_many_again_are_twice_as_many(
    tmp_path: Path,
    photographs: list[Pixels],
    lpips: LPIPS,
    start: Callable[[], Run],
    stage: int,
    half: int,
) -> None:
    straight, reports = start(), list[StepReport]()
    train(straight, photographs, lpips, Budget(steps=2 * half), tmp_path / "straight.pt", reports.append)

    def kill(report: StepReport) -> None:
        if report.step == half + 1:
            raise Killed

    path = tmp_path / "killed.pt"
    with pytest.raises(Killed):
        train(start(), photographs, lpips, Budget(steps=2 * half), path, kill, save_every_s=-1.0)
    state = load_state(path, "tiny", stage)
    assert state.step == half
    resumed, later = start(), list[StepReport]()
    resumed.restore(state)
    train(resumed, photographs, lpips, Budget(steps=2 * half), path, later.append)
    assert [untimed(report) for report in later] == [untimed(report) for report in reports[half:]]
    final, expected = load_state(path, "tiny", stage), load_state(tmp_path / "straight.pt", "tiny", stage)
    assert final.step == 2 * half
    assert final.seconds == pytest.approx(resumed.seconds)
    final.seconds = expected.seconds
    assert_equal(vars(final), vars(expected))
    assert_equal(resumed.ema, straight.ema)


def test_a_run_that_is_told_to_stop_is_saved(tmp_path: Path, photographs: list[Pixels], lpips: LPIPS) -> None:
    reports, path = list[StepReport](), tmp_path / "run.pt"
    run, budget = fresh(), Budget(steps=4)
    assert not train(run, photographs, lpips, budget, path, reports.append, stop=lambda: len(reports) == 1)
    assert load_state(path, "tiny").step == 2
    assert train(run, photographs, lpips, budget, path, reports.append)
    assert [report.step for report in reports] == [1, 2, 3, 4]


def test_training_lowers_the_loss(tmp_path: Path, photographs: list[Pixels], lpips: LPIPS) -> None:
    run = fresh(Recipe(batch=2, crop=64, learning_rate=2e-3, perceptual_from=1.0, warm_up=0.1))
    before = {name: value.clone() for name, value in run.teacher.state_dict().items()}
    reports: list[StepReport] = []
    train(run, photographs, lpips, Budget(steps=40), tmp_path / "run.pt", reports.append)
    assert [report.step for report in reports] == list(range(1, 41))
    first, last = (float(np.mean([report.psnr for report in part])) for part in (reports[:8], reports[-8:]))
    assert last > first + 0.3
    assert any(not torch.equal(value, before[name]) for name, value in run.ema.items())


def test_a_loss_that_is_no_number_stops_the_run_and_keeps_the_checkpoint(
    tmp_path: Path, photographs: list[Pixels], lpips: LPIPS
) -> None:
    run, path = fresh(), tmp_path / "run.pt"

    def poison(report: StepReport) -> None:
        if report.step == 3:
            with torch.no_grad():
                next(run.teacher.g_s.parameters()).fill_(math.nan)

    def train_on(budget: Budget, save_every_s: float) -> None:
        train(run, photographs, lpips, budget, path, poison, save_every_s=save_every_s)

    train_on(Budget(steps=2), 300.0)
    kept = path.read_bytes()
    with pytest.raises(Diverged, match="loss is nan at step 3"):
        train_on(Budget(steps=9), 300.0)
    assert path.read_bytes() == kept
    assert load_state(path, "tiny").step == 2


def test_weights_that_are_no_numbers_are_never_saved(
    tmp_path: Path, photographs: list[Pixels], lpips: LPIPS
) -> None:
    """Those that the last step has spoilt, of which no loss can tell any more."""
    run, path = fresh(), tmp_path / "run.pt"

    def poison(report: StepReport) -> None:
        with torch.no_grad():
            next(run.teacher.g_s.parameters())[0] = math.nan

    with pytest.raises(Diverged, match=r"largest of g_s.* is nan at step 1"):
        train(run, photographs, lpips, Budget(steps=1), path, poison)
    assert not path.exists()


def test_a_gradient_that_is_no_number_never_reaches_the_weights(
    photographs: list[Pixels], lpips: LPIPS
) -> None:
    run = fresh()
    x = torch.rand(1, 3, 64, 64)
    weights = next(run.teacher.g_s.parameters())
    before = weights.detach().clone()
    weights.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Diverged, match="gradient is nan at step 0"):
        run.advance(x, lpips, 0.5)
    assert torch.equal(weights, before)


def test_gradients_are_clipped(lpips: LPIPS) -> None:
    run = fresh(replace(RECIPE, clip_norm=1e-3))
    run.advance(torch.rand(1, 3, 64, 64), lpips, 0.5)
    norms = [parameter.grad.norm() for parameter in run.trained if parameter.grad is not None]
    assert float(torch.stack(norms).norm()) == pytest.approx(1e-3, rel=1e-3)


def test_a_run_by_another_optimiser_is_refused() -> None:
    run = fresh()
    state = run.state()
    state.optimizer = torch.optim.Adam(run.trained).state_dict()
    with pytest.raises(UnsupportedVersion, match=r"another optimiser: .* with --from"):
        run.restore(state)


def test_a_checkpoint_of_another_version_is_refused() -> None:
    run = fresh()
    state = run.state()
    del state.model["g_a.0.weight"]
    with pytest.raises(UnsupportedVersion, match=r"checkpoint has another shape .*g_a\.0\.weight"):
        run.restore(state)


def test_finite_numbers_pass() -> None:
    must_be_finite("loss", 1e30, 5)
    with pytest.raises(Diverged, match="loss is inf at step 5"):
        must_be_finite("loss", math.inf, 5)


def test_budgets_end_by_steps_or_by_hours() -> None:
    assert Budget(steps=10).progress(5, 1e9) == 0.5
    assert Budget(steps=10).progress(11, 0.0) == 1.0
    assert Budget(hours=2.0).progress(10**6, 3600.0) == 0.5
    assert Budget(hours=2.0).progress(0, 7300.0) == 1.0
    assert Budget(steps=0).progress(0, 0.0) == Budget(hours=0.0).progress(0, 0.0) == 1.0
    with pytest.raises(ValueError, match="steps or hours"):
        Budget().progress(0, 0.0)


def test_a_run_by_the_clock_ends(tmp_path: Path, photographs: list[Pixels], lpips: LPIPS) -> None:
    run = fresh()
    train(run, photographs, lpips, Budget(hours=0.2 / 3600), tmp_path / "run.pt", nothing)
    assert run.step >= 1
    assert run.seconds >= 0.2


def test_the_rate_of_a_run_is_the_mean_of_its_last_batches(lpips: LPIPS) -> None:
    run = fresh()
    rates = [run.advance(torch.rand(1, 3, 64, 64), lpips, 0.5).bpp for _ in range(3)]
    assert len(set(rates)) == 3
    assert run.bpp == pytest.approx(sum(rates) / 3)
    run.step = 10**6
    before, rate = run.bpp, run.advance(torch.rand(1, 3, 64, 64), lpips, 0.5).bpp
    assert run.bpp == pytest.approx(before + (rate - before) / RATE_BATCHES, rel=1e-9)
    resumed = fresh()
    resumed.restore(run.state())
    assert resumed.bpp == run.bpp


def test_a_run_whose_rate_nobody_kept_begins_at_its_target() -> None:
    run, state = fresh(), fresh().state()
    state.bpp = None
    run.restore(state)
    assert run.bpp == RECIPE.target_bpp


@pytest.mark.parametrize(
    "start",
    [
        partial(fresh, replace(RECIPE, k_m=0.0, k_p=0.0)),
        partial(fresh_adversary, replace(ADVERSARIAL, k_m=0.0, k_p=0.0, beta=0.0)),
    ],
    ids=["stage 1", "stage 2"],
)
def test_the_rate_so_far_picks_the_weight_of_the_next_batchs(start: Callable[[], Run], lpips: LPIPS) -> None:
    run, x = start(), torch.rand(1, 3, 64, 64)

    def loss(bpp: float) -> float:
        run.bpp = bpp
        torch.manual_seed(0)
        return run.loss(x, lpips, 0.5).loss.item()

    high, low = loss(9.0), loss(0.0)
    assert high / low == pytest.approx(RECIPE.lmbda_above / RECIPE.lmbda_below)
    assert loss(run.recipe.target_bpp) == pytest.approx(math.sqrt(high * low))


def test_the_average_follows_the_weights() -> None:
    run = fresh()
    name, weights = next(iter(run.teacher.named_parameters()))
    run.step = 10**6
    with torch.no_grad():
        weights.add_(1.0)
    expected = run.ema[name] + (1.0 - run.recipe.ema_decay)
    run._average()
    torch.testing.assert_close(run.ema[name], expected)


def test_a_run_goes_on_with_the_photographs_that_it_has_learnt_from(
    tmp_path: Path, photographs: list[Pixels], lpips: LPIPS
) -> None:
    path = tmp_path / "run.pt"
    train(fresh(), photographs, lpips, Budget(steps=1), path, nothing)
    for others, told in (
        ([*photographs, photographs[0]], "from 2 photographs, and these are 3: give it the same"),
        ([photographs[0], photographs[1][:400]], "as many of other sizes"),
    ):
        resumed = fresh()
        resumed.restore(load_state(path, "tiny"))
        with pytest.raises(BadUpload, match=told):
            train(resumed, others, lpips, Budget(steps=2), path, nothing)
    assert load_state(path, "tiny").step == 1


def test_a_checkpoint_that_names_no_photographs_goes_on_with_any(
    tmp_path: Path, photographs: list[Pixels], lpips: LPIPS
) -> None:
    path = tmp_path / "run.pt"
    train(fresh(), photographs, lpips, Budget(steps=1), path, nothing)
    state, resumed = load_state(path, "tiny"), fresh()
    state.photos = {}
    resumed.restore(state)
    train(resumed, photographs[:1], lpips, Budget(steps=1), path, nothing)
    assert load_state(path, "tiny").photos["count"] == 1
