import csv
import json
from pathlib import Path

import pytest
import torch

from microdose.errors import BadPicture, Diverged
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels
from microdose_server.training.loop import Run, StepReport
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe
from microdose_server.training.reporter import reporting


@pytest.fixture
def run() -> Run:
    torch.manual_seed(0)
    return Run(Teacher(PRESETS["tiny"]), Recipe(batch=2, crop=64), "cpu")


def told(
    run: Run, lpips: LPIPS, out: Path, photos: list[Pixels], ends: type[BaseException] | None
) -> list[str]:
    """The steps in the curve of a run of 53, which ends as it is told."""
    with reporting(run, photos * 2, photos, lpips, out, 1000, as_json=True) as report:
        for step in range(run.step + 1, 54):
            report(StepReport(step, step / 2, step / 60, 1.0, 0.2, 30.0, 0.1, 1e-4))
        if ends is not None:
            raise ends
    return steps(out)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def steps(out: Path) -> list[str]:
    return [row["step"] for row in rows(out / "curve.csv")]


@pytest.mark.parametrize("ends", [Diverged, BadPicture, KeyboardInterrupt])
def test_a_run_that_ends_early_has_told_of_all_its_steps(
    run: Run, lpips: LPIPS, photographs: list[Pixels], tmp_path: Path, ends: type[BaseException]
) -> None:
    with pytest.raises(ends):
        told(run, lpips, tmp_path, photographs, ends)
    assert steps(tmp_path) == ["50", "53"]
    assert not (tmp_path / "preview.png").exists()
    assert (tmp_path / "held_out.csv").read_text().splitlines() == ["step,bpp,psnr,lpips"]
    run.step = 52  # what was saved last
    with pytest.raises(ends):
        told(run, lpips, tmp_path, photographs, ends)
    assert steps(tmp_path) == ["50", "53"]


def test_a_run_that_is_over_shows_its_pictures_too(
    run: Run, lpips: LPIPS, photographs: list[Pixels], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run.step = 3
    assert told(run, lpips, tmp_path, photographs, None) == ["53"]
    assert (tmp_path / "preview.png").is_file()
    opening, line, last = (json.loads(told) for told in capsys.readouterr().out.splitlines())
    assert opening == {
        "preset": "tiny",
        "stage": 1,
        "device": "cpu",
        "processes": 1,
        "photos": 2 * len(photographs),
        "held_out": len(photographs),
        "begun": 3,
    }
    assert line["left"] == pytest.approx(line["seconds"] * (60 - 53) / 53)
    assert last["evaluated"] == 3
    (kept,) = rows(tmp_path / "held_out.csv")
    assert kept["step"] == "3"
    assert float(kept["lpips"]) == pytest.approx(last["lpips"], rel=1e-5)
