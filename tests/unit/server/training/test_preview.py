from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.loop import Budget, Run, StepReport, train
from microdose_server.training.lpips import LPIPS
from microdose_server.training.preview import centre, evaluate_held_out
from microdose_server.training.recipe import Recipe


@pytest.mark.parametrize(
    ("height", "width", "side"), [(100, 120, 96), (427, 640, 384), (64, 300, 64), (16, 31, 16)]
)
def test_the_centre_is_in_the_middle(photographs: list[Pixels], height: int, width: int, side: int) -> None:
    photo = photographs[0][:height, :width]
    x = centre(photo, 384)
    assert x.shape == (1, 3, side, side)
    top, left = (height - side) // 2, (width - side) // 2
    assert np.array_equal(np.rint(x[0, 0].numpy() * 255), photo[top : top + side, left : left + side, 0])


def test_the_averaged_weights_are_judged_and_the_own_put_back(
    tmp_path: Path, photographs: list[Pixels], lpips: LPIPS
) -> None:
    torch.manual_seed(0)
    teacher = Teacher(PRESETS["tiny"])
    averages = {name: value.clone() for name, value in teacher.state_dict().items()}
    with torch.no_grad():
        for parameter in teacher.parameters():
            parameter.zero_()  # the teacher's own weights paint black
    photos = [photographs[0][:128, :128], photographs[1][:96, :200]]
    figures = evaluate_held_out(teacher, averages, photos, lpips, tmp_path / "sheet.png")
    assert figures.psnr > 12.0
    assert 0.0 < figures.lpips < 1.5
    assert 0.0 < figures.bpp < 10.0
    assert not any(bool(parameter.any()) for parameter in teacher.parameters())
    with Image.open(tmp_path / "sheet.png") as sheet:
        assert sheet.size == (128 + 96, 256)  # original over reconstruction, larger and smaller
        pixels = np.asarray(sheet)
    assert np.array_equal(pixels[:128, :128], photos[0])
    assert np.array_equal(pixels[:96, 128:], photos[1][:, 52:148])
    assert not pixels[192:, 128:].any()


def test_a_run_does_not_notice_that_it_is_judged(
    tmp_path: Path, photographs: list[Pixels], lpips: LPIPS
) -> None:
    held_out = [photographs[0][:96, :96]]

    def trained(judged: bool) -> Run:
        torch.manual_seed(0)
        run = Run(Teacher(PRESETS["tiny"]), Recipe(batch=2, crop=64).continued(), "cpu")

        def report(step: StepReport) -> None:
            if judged and step.step == 2:
                evaluate_held_out(run.teacher, run.ema, held_out, lpips, tmp_path / "sheet.png")

        train(run, photographs, lpips, Budget(steps=4), tmp_path / "run.pt", report)
        return run

    one, other = trained(judged=False).teacher.state_dict(), trained(judged=True).teacher.state_dict()
    for name, value in one.items():
        assert torch.equal(other[name], value), name
