from collections.abc import Mapping
from itertools import repeat
from pathlib import Path

import pytest
import torch

from microdose.errors import Diverged, UnsupportedVersion
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.data import Pixels
from microdose_server.training.loop import Budget, StepReport, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import ENCODER, StageTwo

RECIPE = StageTwo(batch=2, crop=64, warm_up=0.0)


def fresh(recipe: StageTwo = RECIPE, critic: Mapping[str, torch.Tensor] | None = None) -> AdversarialRun:
    torch.manual_seed(7)
    return AdversarialRun(Teacher(PRESETS["tiny"]), recipe, "cpu", critic=critic)


def weights_of(network: torch.nn.Module) -> dict[str, torch.Tensor]:
    return {name: value.detach().clone() for name, value in network.named_parameters()}


def changed(network: torch.nn.Module, before: dict[str, torch.Tensor]) -> set[str]:
    """The parts of a network that have other weights than before."""
    now = weights_of(network)
    return {name.partition(".")[0] for name, value in before.items() if not torch.equal(value, now[name])}


def test_each_opponents_step_leaves_the_other_as_it_is(lpips: LPIPS) -> None:
    run, x = fresh(), torch.rand(2, 3, 64, 64)
    teacher, critic = weights_of(run.teacher), weights_of(run.discriminator)
    run.judge(x, 0.5)
    assert not changed(run.teacher, teacher)
    assert changed(run.discriminator, critic) == {"condition", "judge"}
    critic = weights_of(run.discriminator)
    run.advance(x, lpips, 0.5)
    assert changed(run.teacher, teacher) == {"g_a", "hyperprior", "g_s"}
    assert not changed(run.discriminator, critic)


def test_they_learn_from_batches_of_their_own(lpips: LPIPS) -> None:
    batches = [torch.rand(2, 3, 64, 64) for _ in range(3)]
    remaining = iter(batches)
    result = fresh().learn(remaining, lpips, 0.5)
    assert next(remaining) is batches[2]
    assert result.discriminator > 0.0
    assert result.adversarial > 0.0


def test_the_critic_learns_to_tell_them_apart(photographs: list[Pixels], lpips: LPIPS) -> None:
    run = fresh(StageTwo(discriminator_learning_rate=3e-4, warm_up=0.0))
    x = torch.from_numpy(photographs[0][:128, :128].copy()).permute(2, 0, 1)[None].float() / 255.0
    losses = [run.judge(batch, 0.5) for batch in repeat(x, 30)]
    assert losses[-1] < losses[0] - 0.3


def test_a_frozen_encoder_keeps_the_bits(tmp_path: Path, photographs: list[Pixels], lpips: LPIPS) -> None:
    run = fresh(StageTwo(batch=2, crop=64, frozen=ENCODER))
    before, reports = weights_of(run.teacher), list[StepReport]()
    train(run, photographs, lpips, Budget(steps=2), tmp_path / "run.pt", reports.append)
    assert changed(run.teacher, before) == {"g_s"}
    assert all(report.bpp > 0.0 and report.discriminator > 0.0 for report in reports)
    for name, value in before.items():
        if not name.startswith("g_s"):
            assert torch.equal(run.ema[name], value), name


def test_a_run_goes_on_with_the_parts_it_trained() -> None:
    state = fresh(StageTwo(frozen=ENCODER)).state()
    with pytest.raises(UnsupportedVersion, match="other parts of the teacher"):
        fresh().restore(state)


def test_it_goes_on_with_the_critic_that_its_teacher_had() -> None:
    torch.manual_seed(8)
    critic = Discriminator(PRESETS["tiny"].latent_channels).state_dict()
    state = fresh(critic=critic).state()
    for name, value in critic.items():
        assert torch.equal(state.discriminator[name], value), name
    del critic["condition.0.bias"]
    with pytest.raises(UnsupportedVersion, match=r"to begin with has another shape .*condition\.0\.bias"):
        fresh(critic=critic)
    state.discriminator = critic
    with pytest.raises(UnsupportedVersion, match=r"checkpoint's discriminator .*condition\.0\.bias"):
        fresh().restore(state)


def test_each_learns_at_its_own_rate(lpips: LPIPS) -> None:
    recipe = StageTwo(batch=2, crop=64, learning_rate=2e-4, discriminator_learning_rate=7e-4, warm_up=0.5)
    run, x = fresh(recipe), torch.rand(1, 3, 64, 64)
    run.judge(x, 0.25)
    run.advance(x, lpips, 0.25)
    for optimizer, rate in ((run.discriminator_optimizer, 3.5e-4), (run.optimizer, 1e-4)):
        assert {group["lr"] for group in optimizer.param_groups} == {rate}


def test_a_critic_that_diverges_stops_the_run() -> None:
    run = fresh()
    with torch.no_grad():
        next(run.discriminator.parameters()).fill_(torch.nan)
    with pytest.raises(Diverged, match="loss is nan at step 0"):
        run.judge(torch.rand(1, 3, 64, 64), 0.5)
