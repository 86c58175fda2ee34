import copy
import math
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
import torch
from torch.func import functional_call

from microdose.errors import Diverged, UnsupportedVersion
from microdose_server.codec.micro import is_micro
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.student import STUDENTS, Student
from microdose_server.codec.teacher import Teacher
from microdose_server.distil.generic import Aim, GenericRun, distil_generic, generic_recipe
from microdose_server.distil.progress import Progress
from microdose_server.training.data import Pixels, crops
from microdose_server.training.loop import Budget
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe

RECIPE = Recipe(learning_rate=3e-3, warm_up=0.05, perceptual_from=0.6, constant_until=0.9, batch=2, crop=64)


def start(teacher: Teacher) -> GenericRun:
    return GenericRun.start(teacher, STUDENTS["tiny"], RECIPE)


def batches(photographs: list[Pixels], count: int) -> list[torch.Tensor]:
    return list(islice(crops(photographs, 2, 64, np.random.default_rng(0)), count))


def test_distillation_brings_the_student_nearer_to_the_teacher(
    tiny_teacher: Teacher, tiny_student: Student, photographs: list[Pixels]
) -> None:
    x = torch.cat(batches(photographs, 12))
    fresh = start(tiny_teacher)
    fresh.carry_thumbnail(x)
    with torch.no_grad():
        output = tiny_teacher(x)
        target = output.x_hat.clamp(0.0, 1.0)
        before, after = (
            float(((student(output.y_hat) - target) ** 2).mean())
            for student in (fresh.folded(), tiny_student)
        )
    assert after < 0.8 * before


def test_starts_from_a_thumbnail(tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS) -> None:
    x = torch.cat(batches(photographs, 3))
    run = start(tiny_teacher)
    _, before = run.loss(x, lpips, 0.0)
    run.carry_thumbnail(x)
    _, after = run.loss(x, lpips, 0.0)
    assert after < 0.2 * before


def test_a_student_learns_from_every_crop_of_a_batch(
    tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    """Also from those that LPIPS does not see."""
    x = torch.cat(batches(photographs, 1))
    run = GenericRun.start(tiny_teacher, STUDENTS["tiny"], replace(RECIPE, perceptual_crops=1))
    losses = []
    for seen, unseen in ((x[:1], x[1:]), (x[:1], 1.0 - x[1:]), (1.0 - x[:1], x[1:])):
        torch.manual_seed(0)
        losses.append(run.loss(torch.cat([seen, unseen]), lpips, 1.0)[0].item())
    assert len(set(losses)) == 3


@pytest.mark.parametrize("alpha", [0.0, 0.5, 1.0])
def test_the_thumbnail_is_of_what_is_aimed_at(
    alpha: float, tiny_teacher: Teacher, photographs: list[Pixels]
) -> None:
    x = torch.cat(batches(photographs, 3))
    black = copy.deepcopy(tiny_teacher)
    for parameter in black.g_s.parameters():
        parameter.zero_()  # its pictures are black, its latents the same
    blocks = []
    for teacher in (tiny_teacher, black):
        run = GenericRun.start(teacher, STUDENTS["tiny"], RECIPE, aim=Aim(alpha))
        run.carry_thumbnail(x)
        with torch.no_grad():
            x_hat = functional_call(run.student, run.degradation(), (teacher(x).y_hat,))
        blocks.append(torch.nn.functional.avg_pool2d(x_hat, 16))
    goal = torch.nn.functional.avg_pool2d((1.0 - alpha) * x, 16)
    torch.testing.assert_close(blocks[1].mean(), goal.mean(), atol=0.01, rtol=0.01)
    assert torch.equal(*blocks) == (alpha == 0.0)


@pytest.mark.parametrize("shape", ["tiny", "paper"])
def test_takes_up_what_another_student_has_learnt(tiny_teacher: Teacher, shape: str) -> None:
    first, second = (GenericRun.start(tiny_teacher, STUDENTS[shape], RECIPE, seed=seed) for seed in range(2))
    learnt = first.folded()
    second.take_up(learnt)
    y_hat = torch.randn(1, 16, 2, 3)
    with torch.no_grad():
        torch.testing.assert_close(second.folded()(y_hat), learnt(y_hat), atol=1e-4, rtol=1e-4)


def test_keeps_what_it_takes_up(tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS) -> None:
    run, (x,) = start(tiny_teacher), batches(photographs, 1)
    run.carry_thumbnail(x)
    learnt, (_, before) = run.folded(), run.loss(x, lpips, 0.0)
    again = start(tiny_teacher)
    again.take_up(learnt)
    seen: list[Progress] = []
    distil_generic(again, iter([x]), lpips, Budget(steps=1), seen.append)
    assert 10.0 ** (-seen[0].psnr / 10.0) < 1.1 * before


def test_takes_up_no_student_of_another_shape(tiny_teacher: Teacher) -> None:
    other = GenericRun.start(tiny_teacher, STUDENTS["live"], RECIPE).folded()
    with pytest.raises(UnsupportedVersion, match="another shape"):
        start(tiny_teacher).take_up(other)


def test_lpips_joins_later(tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS) -> None:
    run, (x,) = start(tiny_teacher), batches(photographs, 1)
    run.carry_thumbnail(x)
    early, mse = run.loss(x, lpips, 0.1)
    late, _ = run.loss(x, lpips, 0.9)
    assert float(early.detach()) == pytest.approx(RECIPE.k_m * 255**2 * mse, rel=1e-4)
    assert float(late.detach()) > 1.1 * float(early.detach())


@pytest.mark.parametrize("alpha", [0.0, 0.5])
def test_alpha_is_the_teachers_share_of_the_target(
    alpha: float, tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    (x,) = batches(photographs, 1)
    run = GenericRun.start(tiny_teacher, STUDENTS["tiny"], RECIPE, aim=Aim(alpha))
    run.carry_thumbnail(x)
    mixed, to_teacher = run.loss(x, lpips, 0.0)
    with torch.no_grad():
        x_hat = functional_call(run.student, run.degradation(), (tiny_teacher(x).y_hat,))
        to_original = float(((x_hat - x) ** 2).mean())
    expected = alpha * to_teacher + (1.0 - alpha) * to_original
    assert float(mixed.detach()) == pytest.approx(RECIPE.k_m * 255**2 * expected, rel=1e-4)


def test_features_pull_the_student_towards_the_teachers(
    tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    (x,) = batches(photographs, 1)
    plain = start(tiny_teacher)
    matching = GenericRun.start(tiny_teacher, STUDENTS["tiny"], RECIPE, aim=Aim(features=0.5))
    assert float(matching.loss(x, lpips, 0.0)[0].detach()) > float(plain.loss(x, lpips, 0.0)[0].detach())
    matching.loss(x, lpips, 0.0)[0].backward()
    adapter = dict(matching._inside.named_parameters())["adapter.weight"]
    assert adapter.grad is not None
    assert bool(adapter.grad.any())


def test_the_papers_form_learns_in_micro_rn_alone(
    tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    run = GenericRun.start(tiny_teacher, STUDENTS["paper"], RECIPE)
    before = {name: value.clone() for name, value in run.student.named_parameters()}
    student = distil_generic(
        run, iter(batches(photographs, 8)), lpips, Budget(steps=3), lambda progress: None
    )
    moved = {name for name, value in student.named_parameters() if not torch.equal(value, before[name])}
    assert moved
    assert all(is_micro(name) for name in moved)


def test_a_resumed_run_takes_the_same_steps(
    tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    data = batches(photographs, 10)
    whole = distil_generic(start(tiny_teacher), iter(data), lpips, Budget(steps=4), lambda progress: None)
    first, second = start(tiny_teacher), start(tiny_teacher)

    def cut_off(progress: Progress) -> None:
        if progress.step == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        distil_generic(first, iter(data), lpips, Budget(steps=4), cut_off)
    second.restore(first.state())
    resumed = distil_generic(second, iter(data[6:]), lpips, Budget(steps=4), lambda progress: None)
    for one, other in zip(whole.parameters(), resumed.parameters(), strict=True):
        torch.testing.assert_close(one, other)


def test_the_folded_student_is_the_averaged_one(tiny_teacher: Teacher) -> None:
    run = start(tiny_teacher)
    run.average(0)
    with torch.no_grad():
        for parameter in (*run.student.parameters(), *run.degradation.parameters()):
            parameter.add_(1.0)
    run.average(10)  # half old, half new
    expected = {name: value.clone() for name, value in run.averages.items()}
    y_hat = torch.randn(1, 16, 2, 3)
    student = run.folded()
    with torch.no_grad():
        parts = functional_call(student, run.degradation(), (y_hat,))
        assert torch.equal(student(y_hat), parts)
    folded = set(run.degradation())
    for name, value in student.named_parameters():
        if name not in folded:
            torch.testing.assert_close(value, expected[f"student.{name}"])


def test_progress_tells_the_plan(tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS) -> None:
    told: list[Progress] = []
    distil_generic(start(tiny_teacher), iter(batches(photographs, 9)), lpips, Budget(steps=5), told.append)
    assert [(progress.step, progress.steps) for progress in told] == [(step, 5) for step in range(1, 6)]


def test_the_teacher_stays_as_it_is(tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS) -> None:
    before = {name: value.clone() for name, value in tiny_teacher.state_dict().items()}
    distil_generic(
        start(tiny_teacher), iter(batches(photographs, 8)), lpips, Budget(steps=3), lambda progress: None
    )
    for name, value in tiny_teacher.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_the_same_seed_gives_the_same_student(
    tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    students = [
        distil_generic(
            start(tiny_teacher), iter(batches(photographs, 8)), lpips, Budget(steps=4), lambda progress: None
        )
        for _ in range(2)
    ]
    for first, second in zip(*(student.parameters() for student in students), strict=True):
        assert torch.equal(first, second)


def test_a_loss_that_is_no_number_ends_it(photographs: list[Pixels], lpips: LPIPS) -> None:
    torch.manual_seed(0)
    broken = Teacher(PRESETS["tiny"]).requires_grad_(False)
    run = start(broken)

    def poison(progress: Progress) -> None:
        if progress.step == 2:
            next(run.student.parameters()).data.fill_(math.nan)

    with pytest.raises(Diverged, match="loss is nan at step 2"):
        distil_generic(run, iter(batches(photographs, 9)), lpips, Budget(steps=5), poison)


@pytest.mark.parametrize("part", ["student", "degradation", "adapter"])
def test_a_gradient_that_is_no_number_reaches_no_weights(
    part: str, tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    run = GenericRun.start(tiny_teacher, STUDENTS["tiny"], RECIPE, aim=Aim(features=0.5))
    trained = {"student": run.student, "degradation": run.degradation, "adapter": run._inside.adapter}
    weights = next(trained[part].parameters())
    before = weights.detach().clone()
    weights.register_hook(lambda gradient: gradient * math.nan)
    with pytest.raises(Diverged, match="gradient is nan at step 0"):
        distil_generic(run, iter(batches(photographs, 5)), lpips, Budget(steps=1), lambda progress: None)
    if part != "student":  # which the thumbnail changes
        assert torch.equal(weights, before)


def test_gradients_are_clipped_over_all_that_learns(
    tiny_teacher: Teacher, photographs: list[Pixels], lpips: LPIPS
) -> None:
    recipe = replace(RECIPE, clip_norm=1e-3)
    run = GenericRun.start(tiny_teacher, STUDENTS["tiny"], recipe, aim=Aim(features=0.5))
    distil_generic(run, iter(batches(photographs, 5)), lpips, Budget(steps=1), lambda progress: None)
    gradients = [each.grad for each in (*run._inside.parameters(), *run.degradation.parameters())]
    found = torch.stack([gradient.norm() for gradient in gradients if gradient is not None]).norm()
    assert float(found) == pytest.approx(1e-3, rel=1e-2)


def test_a_student_learns_faster_than_a_teacher() -> None:
    assert generic_recipe().learning_rate > Recipe().learning_rate
    assert generic_recipe().perceptual_from < Recipe().perceptual_from
