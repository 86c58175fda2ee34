import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from microdose_server.cli import main
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import load_meta, load_teacher
from microdose_server.training.checkpoint import load_state, save_state
from microdose_server.training.curve import Curve
from microdose_server.training.loop import StepReport
from microdose_server.training.recipe import Recipe


def train(photos: Path, out: Path, *options: str) -> int:
    return main(["train", str(photos), "-o", str(out), "--batch", "2", "--crop", "64", *options])


def test_leaves_a_teacher_its_checkpoint_and_its_curve(trained: Path) -> None:
    assert {path.name for path in trained.iterdir()} == {
        "checkpoint.pt",
        "curve.csv",
        "meta.json",
        "teacher.safetensors",
        "tensorboard",
    }
    meta, state = load_meta(trained), load_state(trained / "checkpoint.pt", "tiny")
    assert (meta["preset"], meta["steps"], meta["photos"]) == ("tiny", 6, 4)
    assert meta["recipe"] == {**vars(Recipe()), "batch": 2, "crop": 64, "frozen": []}
    teacher = load_teacher(folder=trained)
    assert teacher.preset == PRESETS["tiny"]
    for name, value in teacher.g_a.named_parameters():
        assert torch.equal(value, state.ema[f"g_a.{name}"].half().float())


def test_resumes(trained: Path, photo_folder: Path, tmp_path: Path) -> None:
    out = shutil.copytree(trained, tmp_path / "run")
    assert train(photo_folder, out, "--preset", "tiny", "--steps", "8", "--resume", "--json") == 0
    assert load_state(out / "checkpoint.pt", "tiny").step == 8
    assert load_meta(out)["steps"] == 8


@pytest.mark.parametrize("signum", [signal.SIGINT, signal.SIGTERM])
def test_who_is_told_to_stop_saves_first(
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    signum: signal.Signals,
) -> None:
    def end(curve: Curve, step: StepReport) -> None:
        if step.step == 2:
            signal.raise_signal(signum)

    with monkeypatch.context() as interrupted:
        interrupted.setattr(Curve, "add", end)
        assert train(photo_folder, tmp_path, "--preset", "tiny", "--steps", "9") == 1
    assert "stopped after step 3, and saved: go on with --resume" in caplog.text
    assert not (tmp_path / "teacher.safetensors").exists()
    assert train(photo_folder, tmp_path, "--preset", "tiny", "--steps", "4", "--resume") == 0
    assert load_state(tmp_path / "checkpoint.pt", "tiny").step == 4


def test_failures_are_one_clear_line(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    teacher = shutil.copytree(trained, tmp_path / "teacher", ignore=lambda *_: ["checkpoint.pt"])
    for arguments, message in (
        ((photo_folder, tmp_path, "--preset", "tiny", "--resume"), "no checkpoint at"),
        ((photo_folder, trained, "--preset", "small", "--resume"), "use it with --preset tiny"),
        ((photo_folder, trained, "--preset", "tiny"), "go on with --resume"),
        ((tmp_path / "nowhere", tmp_path, "--preset", "tiny"), "there is no"),
        ((photo_folder, teacher, "--preset", "tiny"), "holds a teacher, which a run would replace"),
        ((photo_folder, teacher / "meta.json" / "x", "--preset", "tiny"), "cannot be made (Not a directory)"),
    ):
        assert train(*arguments, "--steps", "1") == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_a_picture_that_breaks_while_it_is_drawn_costs_no_step(
    photo_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    photos, out = shutil.copytree(photo_folder, tmp_path / "photos"), tmp_path / "run"
    whole = {path: path.read_bytes() for path in photos.iterdir()}

    def damage(curve: Curve, step: StepReport) -> None:
        if step.step == 3:
            for path, data in whole.items():
                path.write_bytes(data[: len(data) // 2])

    options = ("--preset", "tiny", "--memory", "1e-6")
    with monkeypatch.context() as damaged:
        damaged.setattr(Curve, "add", damage)
        assert train(photos, out, *options, "--steps", "999") == 1
    assert "repair it, and go on with --resume" in capsys.readouterr().err.splitlines()[-1]
    saved = load_state(out / "checkpoint.pt", "tiny").step
    assert saved >= 3
    for path, data in whole.items():
        path.write_bytes(data)
    assert train(photos, out, *options, "--steps", str(saved + 1), "--resume") == 0


def test_a_run_needs_one_length(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for options in ((), ("--steps", "1", "--hours", "1")):
        with pytest.raises(SystemExit) as stopped:
            train(photo_folder, tmp_path, *options)
        assert stopped.value.code == 2
    assert "--hours" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("--steps", "-1"),
        ("--hours", "0"),
        ("--held-out", "-1"),
        ("--learning-rate", "-1e-4"),
        ("--memory", "nan"),
    ],
)
def test_what_no_run_can_use_is_refused_at_once(
    tmp_path: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    length = () if option in ("--steps", "--hours") else ("--steps", "1")
    with pytest.raises(SystemExit):
        train(tmp_path / "nowhere", tmp_path, *length, f"{option}={value}")
    assert f"argument {option}: must" in capsys.readouterr().err


def test_a_run_resumes_with_the_same_photographs_alone(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, photos = (
        shutil.copytree(trained, tmp_path / "run"),
        shutil.copytree(photo_folder, tmp_path / "photos"),
    )
    options = ("--preset", "tiny", "--steps", "7", "--resume", "--memory", "1e-6")
    next(photos.iterdir()).unlink()
    assert train(photos, out, *options) == 1
    assert "learns from 4 photographs, and these are 3" in capsys.readouterr().err
    assert train(photo_folder, out, *options) == 0


@pytest.mark.parametrize("crop", ["48", "100", "large"])
def test_crops_must_suit_the_networks(
    photo_folder: Path, tmp_path: Path, crop: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        train(photo_folder, tmp_path, "--steps", "1", "--crop", crop)
    assert "argument --crop" in capsys.readouterr().err


@pytest.mark.parametrize("out", ["", "runs/one"])
def test_a_run_lies_apart_from_its_photographs(
    photo_folder: Path, out: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Its preview would be one of them."""
    assert train(photo_folder, photo_folder / out, "--steps", "1") == 1
    assert "lies among the photographs" in capsys.readouterr().err
    assert not (photo_folder / "runs").exists()


@pytest.mark.parametrize(("begin", "end", "times"), [(998, 1001, 2), (999, 1000, 1), (6, 7, 1)])
def test_held_out_pictures_are_shown_every_thousand_steps_and_at_the_end(
    trained: Path,
    photo_folder: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    begin: int,
    end: int,
    times: int,
) -> None:
    state = load_state(trained / "checkpoint.pt", "tiny")
    state.step, state.recipe["held_out"], state.photos = begin, 1, {}
    save_state(state, tmp_path / "checkpoint.pt")
    options = ("--preset", "tiny", "--steps", str(end), "--resume", "--json")
    assert train(photo_folder, tmp_path, *options) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["step"] for each in told if "step" in each] == [end]
    shown = [each for each in told if "evaluated" in each]
    assert [set(each) for each in shown] == [{"evaluated", "bpp", "psnr", "lpips"}] * times
    assert shown[-1]["evaluated"] == end
    assert (tmp_path / "preview.png").is_file()
    assert load_meta(tmp_path)["photos"] == 3


def test_previews_come_as_often_as_is_asked_for(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--preset", "tiny", "--steps", "3", "--held-out", "1", "--evaluate-every", "2", "--json")
    assert train(photo_folder, tmp_path, *options) == 0
    told = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [each["evaluated"] for each in told if "evaluated" in each] == [2, 3]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU here")
def test_a_missing_gpu_is_said(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(photo_folder, tmp_path, "--steps", "1", "--device", "cuda") == 1
    assert "no GPU" in capsys.readouterr().err


def test_nothing_is_drawn_between_a_checkpoint_and_the_next_step(
    trained: Path, photo_folder: Path, tmp_path: Path
) -> None:
    """A run that is over takes no step: its random state has to stay where it was."""
    out = shutil.copytree(trained, tmp_path / "run")
    assert train(photo_folder, out, "--preset", "tiny", "--steps", "6", "--resume") == 0
    before, after = (load_state(folder / "checkpoint.pt", "tiny") for folder in (trained, out))
    assert torch.equal(before.torch_rng, after.torch_rng)
    assert before.data_rng == after.data_rng
