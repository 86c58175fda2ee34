import math
from dataclasses import asdict

import numpy as np
import pytest

from microdose.errors import UnsupportedVersion
from microdose_server.training.recipe import (
    CONTINUED,
    ENCODER,
    Recipe,
    StageThree,
    StageTwo,
    inherited,
    settled,
)

RECIPE = Recipe()


def test_distortion_weighs_as_in_the_paper() -> None:
    assert RECIPE.k_m == 0.075 / 32
    assert RECIPE.k_m * 255**2 == pytest.approx(152.4, abs=0.05)
    assert RECIPE.k_p == 1.0


@pytest.mark.parametrize("progress", [0.2, 0.5, 1.0])
def test_the_rate_picks_the_weight(progress: float) -> None:
    weights = [RECIPE.rate_weight_at(progress, RECIPE.target_bpp * rate) for rate in (0.0, 0.89, 1.11, 9.0)]
    assert weights == [2**-4, 2**-4, RECIPE.lmbda_above, RECIPE.lmbda_above]


def test_near_the_target_the_weight_rises_evenly() -> None:
    rates = [0.9, 0.95, 1.0, 1.05, 1.1]
    logarithms = [math.log(RECIPE.rate_weight_at(0.5, RECIPE.target_bpp * rate)) for rate in rates]
    ends = math.log(RECIPE.lmbda_below), math.log(RECIPE.lmbda_above)
    assert logarithms == pytest.approx(list(np.linspace(*ends, 5)))


def test_the_target_is_relaxed_and_the_weight_halved_early() -> None:
    """A port of HiFiC doubles the weight instead."""
    early, late = 0.15, 0.25
    assert RECIPE.target_at(early) == pytest.approx(RECIPE.target_bpp * 1.43, rel=1e-3)
    assert RECIPE.target_at(late) == RECIPE.target_bpp
    for bpp in (10.0, 0.01):
        assert RECIPE.rate_weight_at(early, bpp) == 0.5 * RECIPE.rate_weight_at(late, bpp)


def test_between_both_targets_only_the_late_one_counts_as_above() -> None:
    bpp = 1.2 * RECIPE.target_bpp
    assert RECIPE.rate_weight_at(0.15, bpp) == 0.5 * RECIPE.lmbda_below
    assert RECIPE.rate_weight_at(0.25, bpp) == RECIPE.lmbda_above


def test_the_rate_costs_nothing_at_first() -> None:
    weights = [RECIPE.rate_weight_at(progress, 1.0) for progress in (0.0, 0.02, 0.04, 0.08, 0.1)]
    assert weights == pytest.approx([0.0, 0.1875, 0.375, 0.75, 0.75])


def test_the_learning_rate_warms_up_stays_and_falls() -> None:
    rates = [RECIPE.learning_rate_at(progress / 1000) for progress in range(1001)]
    assert rates[0] == 0.0
    assert rates[10:500] == [RECIPE.learning_rate] * 490
    assert rates[5] == pytest.approx(RECIPE.learning_rate / 2)
    assert rates[-1] == pytest.approx(RECIPE.least_learning_rate)
    assert rates[500:] == sorted(rates[500:], reverse=True)


def test_a_low_learning_rate_falls_too() -> None:
    recipe = Recipe(learning_rate=1e-6, warm_up=0.0)
    rates = [recipe.learning_rate_at(progress / 100) for progress in range(101)]
    assert rates == sorted(rates, reverse=True)
    assert 0.0 < rates[-1] <= rates[0] == 1e-6


def test_stage_two_has_everything_from_its_first_step() -> None:
    recipe = StageTwo()
    assert recipe.beta == 0.15
    assert recipe.target_at(0.0) == recipe.target_bpp
    assert recipe.rate_weight_at(0.0, 1.0) == recipe.lmbda_above
    assert recipe.perceptual_from == 0.0


@pytest.mark.parametrize("progress", [0.0, 0.005, 0.3, 0.8, 1.0])
def test_both_opponents_learn_at_the_same_pace(progress: float) -> None:
    recipe = StageTwo(learning_rate=1e-4, discriminator_learning_rate=4e-4)
    rate = recipe.learning_rate_at(progress)
    assert recipe.discriminator_learning_rate_at(progress) == pytest.approx(4 * rate)


def test_a_continued_run_weighs_every_term_in_full_from_its_first_step() -> None:
    recipe = RECIPE.continued()
    assert recipe.target_at(0.0) == recipe.target_bpp
    assert recipe.rate_weight_at(0.0, 10.0) == recipe.lmbda_above
    assert recipe.perceptual_from == 0.0


def test_a_resumed_run_keeps_its_recipe() -> None:
    kept = asdict(Recipe(k_p=2.0, batch=4).continued())
    assert settled(Recipe(), {}, kept) == Recipe(k_p=2.0, batch=4).continued()
    assert settled(Recipe(), {"k_p": 2.0, **CONTINUED}, kept) == Recipe(k_p=2.0, batch=4).continued()
    with pytest.raises(UnsupportedVersion, match=r"has --k-p 2\.0 and cannot go on with 3\.0"):
        settled(Recipe(), {"k_p": 3.0}, kept)


def test_options_are_named_as_they_are_given() -> None:
    with pytest.raises(UnsupportedVersion, match=r"has --lmbda 1\.5 and cannot go on with 4\.0"):
        settled(Recipe(), {"lmbda_above": 4.0}, asdict(Recipe()))
    with pytest.raises(UnsupportedVersion, match="has --frozen-encoder"):
        settled(Recipe(), {"frozen": ENCODER}, asdict(Recipe()))


def test_a_recipe_of_another_version_is_refused() -> None:
    with pytest.raises(UnsupportedVersion, match="learns by momentum, of which"):
        settled(Recipe(), {}, {**asdict(Recipe()), "momentum": 0.9})


def test_a_new_run_or_one_whose_checkpoint_has_no_recipe_takes_what_is_given() -> None:
    assert settled(StageTwo(), {"k_p": 3.0}, {}) == StageTwo(k_p=3.0)


LOSS_OF_ONE = {"target_bpp": 0.14, "k_p": 3.0, "lmbda_above": 4.0, "held_out": 2}


def test_a_stage_takes_over_the_loss_and_the_crops_that_are_not_stage_threes() -> None:
    first = asdict(Recipe(**LOSS_OF_ONE, batch=8, crop=128))  # type: ignore[arg-type]
    assert settled(StageTwo(), inherited(first, 2), {}) == StageTwo(**LOSS_OF_ONE, batch=8, crop=128)  # type: ignore[arg-type]
    third = settled(StageThree(), inherited(first, 3), {})
    assert third == StageThree(**LOSS_OF_ONE)  # type: ignore[arg-type]
    assert settled(StageTwo(), inherited(asdict(third), 2), {}) == StageTwo(**LOSS_OF_ONE)  # type: ignore[arg-type]


def test_stage_three_sees_no_small_crops() -> None:
    assert StageThree().crop >= 512
    assert StageThree().learning_rate_at(0.5) < StageThree().learning_rate
