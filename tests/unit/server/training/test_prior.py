import itertools

import torch

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.lpips import LPIPS
from microdose_server.training.prior import PriorRun
from microdose_server.training.recipe import PICTURES, StageThree


def fresh(critic: dict[str, torch.Tensor] | None = None) -> PriorRun:
    torch.manual_seed(1)
    recipe = StageThree(batch=2, crop=64, warm_up=0.0, learning_rate=2e-3)
    return PriorRun(Teacher(PRESETS["tiny"]), recipe, "cpu", critic=critic)


def batch(photographs: list[Pixels]) -> torch.Tensor:
    pieces = [torch.from_numpy(photo[:64, :64].copy()) for photo in photographs[:2]]
    return torch.stack(pieces).permute(0, 3, 1, 2).float() / 255.0


def test_the_prior_alone_learns_and_latents_cost_less(photographs: list[Pixels], lpips: LPIPS) -> None:
    run, x = fresh(), batch(photographs)
    before = {name: value.clone() for name, value in run.teacher.named_parameters()}
    rates = [run.learn(itertools.repeat(x), lpips, 0.0).bpp for _ in range(20)]
    moved = {name for name, value in run.teacher.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert not [name for name in moved if name.startswith(PICTURES)]
    assert rates[-1] < 0.95 * rates[0]


def test_nothing_but_the_rate_weighs(photographs: list[Pixels], lpips: LPIPS) -> None:
    run, x = fresh(), batch(photographs)
    torch.manual_seed(2)
    found = run.loss(x, lpips, 1.0)
    torch.manual_seed(2)
    assert found.loss.item() == run.teacher(x).bits.item() / x[:, 0].numel()
    assert found.mse > 0.0


def test_no_gradient_goes_through_the_picture(photographs: list[Pixels], lpips: LPIPS) -> None:
    run, painted = fresh(), list[torch.Tensor]()
    run.teacher.g_s.register_forward_hook(lambda *call: painted.append(call[-1]))
    run.loss(batch(photographs), lpips, 1.0)
    assert [x_hat.requires_grad for x_hat in painted] == [False]


def test_the_critic_of_its_teacher_stays_with_it(photographs: list[Pixels], lpips: LPIPS) -> None:
    critic = {"w": torch.arange(3.0)}
    run, resumed = fresh(critic), fresh()
    run.advance(batch(photographs), lpips, 0.5)
    resumed.restore(run.state())
    assert torch.equal(resumed.state().discriminator["w"], critic["w"])
    assert fresh().state().discriminator == {}
