"""By way of the command line."""

from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from microdose_server.cli import main
from microdose_server.codec.shipped import load_discriminator, load_meta, load_teacher, teacher_digest
from microdose_server.training.checkpoint import load_state, save_state
from microdose_server.training.recipe import ENCODER, PICTURES, STAGES, Recipe


def train(photos: Path, out: Path, *options: str) -> int:
    return main(["train", str(photos), "-o", str(out), "--batch", "2", "--crop", "64", *options])


def options_of(folder: Path) -> dict[str, Any]:
    recipe = load_meta(folder)["recipe"]
    assert isinstance(recipe, dict)
    return recipe


def test_a_resumed_run_keeps_its_recipe(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    given = ("--preset", "tiny", "--from", str(trained), "--k-p", "2", "--frozen-encoder")
    assert train(photo_folder, tmp_path, *given, "--steps", "1") == 0
    begun = options_of(tmp_path)
    resume = ["train", str(photo_folder), "-o", str(tmp_path), "--preset", "tiny", "--steps", "2", "--resume"]
    assert main(resume) == 0
    assert options_of(tmp_path) == begun
    assert begun == {**asdict(Recipe(k_p=2.0, batch=2, crop=64).continued()), "frozen": list(ENCODER)}
    assert train(photo_folder, tmp_path, *given[:2], *given[4:], "--steps", "3", "--resume") == 0
    capsys.readouterr()
    assert main([*resume, "--k-p", "1"]) == 1
    assert "has --k-p 2.0 and cannot go on with 1.0" in capsys.readouterr().err


def test_a_checkpoint_without_a_recipe_goes_on_with_what_is_given(
    trained: Path, photo_folder: Path, tmp_path: Path
) -> None:
    state = load_state(trained / "checkpoint.pt", "tiny")
    state.recipe = {}
    save_state(state, tmp_path / "checkpoint.pt")
    options = ("--preset", "tiny", "--k-p", "3", "--steps", "7", "--resume")
    assert train(photo_folder, tmp_path, *options) == 0
    assert options_of(tmp_path)["k_p"] == 3.0


def test_new_runs_begin_alike(photo_folder: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        torch.rand(3)  # whatever was drawn before
        assert train(photo_folder, tmp_path / name, "--preset", "tiny", "--steps", "1") == 0
    one, other = (load_state(tmp_path / name / "checkpoint.pt", "tiny").model for name in ("one", "other"))
    assert all(torch.equal(value, other[name]) for name, value in one.items())


def test_a_run_begins_or_goes_on(trained: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        train(tmp_path / "nowhere", tmp_path, "--steps", "1", "--resume", "--from", str(trained))
    assert "--from: not allowed with argument --resume" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["", "checkpoint.pt"])
def test_stage_two_starts_from_stage_one_and_resumes(
    trained: Path, photo_folder: Path, tmp_path: Path, source: str
) -> None:
    options = (
        "--preset",
        "tiny",
        "--stage",
        "2",
        "--frozen-encoder",
        "--discriminator-learning-rate",
        "3e-4",
    )
    assert train(photo_folder, tmp_path, *options, "--from", str(trained / source), "--steps", "1") == 0
    assert train(photo_folder, tmp_path, *options, "--resume", "--steps", "2") == 0
    assert load_state(tmp_path / "checkpoint.pt", "tiny", 2).step == 2
    meta = load_meta(tmp_path)
    assert (meta["stage"], meta["steps"]) == (2, 2)
    assert "'discriminator_learning_rate': 0.0003" in str(meta["recipe"])
    before, after = load_teacher(folder=trained), load_teacher(folder=tmp_path)
    for name, value in after.g_a.named_parameters():
        assert torch.equal(value, before.g_a.get_parameter(name))


@pytest.mark.parametrize("stage", ["1", "2"])
@pytest.mark.parametrize("source", ["", "checkpoint.pt"])
def test_a_run_takes_over_the_loss_of_the_teacher_that_it_begins_with(
    photo_folder: Path, tmp_path: Path, source: str, stage: str
) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    options = ("--preset", "tiny", "--steps", "1")
    chosen = ("--target-bpp", "0.14", "--k-p", "2", "--lmbda", "3", "--crop", "64", "--batch", "2")
    assert train(photo_folder, first, *options, *chosen, "--held-out", "1") == 0
    start = ("--stage", stage, "--from", str(first / source), "--lmbda", "4")
    assert train(photo_folder, second, *options, *start) == 0
    recipe = load_state(second / "checkpoint.pt", "tiny", int(stage)).recipe
    names = ("target_bpp", "k_p", "lmbda_above", "crop", "batch", "held_out")
    assert [recipe[name] for name in names] == [0.14, 2.0, 4.0, 64, 2, 1]
    assert recipe["learning_rate"] == STAGES[int(stage)]().learning_rate


def test_stage_three_teaches_the_prior_alone_and_resumes(
    trained: Path, photo_folder: Path, tmp_path: Path
) -> None:
    options = ("--preset", "tiny", "--stage", "3")
    assert train(photo_folder, tmp_path, *options, "--from", str(trained), "--steps", "1") == 0
    assert train(photo_folder, tmp_path, *options, "--resume", "--steps", "2") == 0
    assert (load_meta(tmp_path)["stage"], load_meta(tmp_path)["steps"]) == (3, 2)
    before, after = load_teacher(folder=trained), load_teacher(folder=tmp_path)
    stayed = {
        name for name, value in after.named_parameters() if torch.equal(value, before.get_parameter(name))
    }
    assert {name for name, _ in after.named_parameters() if name.startswith(PICTURES)} <= stayed
    assert len(stayed) < len(list(after.parameters()))


def test_stage_three_has_no_frozen_encoder(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--preset", "tiny", "--stage", "3", "--from", str(trained), "--steps", "1")
    assert train(photo_folder, tmp_path, *options, "--frozen-encoder") == 1
    assert "leave --frozen-encoder out" in capsys.readouterr().err


def test_stage_three_cannot_be_told_a_loss(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ("--preset", "tiny", "--stage", "3", "--from", str(trained), "--steps", "1")
    assert train(photo_folder, tmp_path, *options, "--lmbda", "4", "--target-bpp", "0.2") == 1
    assert "leave --target-bpp, --lmbda out" in capsys.readouterr().err


@pytest.mark.parametrize("source", ["", "checkpoint.pt"])
def test_a_critic_outlives_stage_three(
    trained: Path, photo_folder: Path, tmp_path: Path, source: str
) -> None:
    sharp, out = tmp_path / "sharp", tmp_path / "out"
    options = ("--preset", "tiny", "--steps", "1")
    assert train(photo_folder, sharp, *options, "--stage", "2", "--from", str(trained)) == 0
    assert train(photo_folder, out, *options, "--stage", "3", "--from", str(sharp / source)) == 0
    assert train(photo_folder, out, "--preset", "tiny", "--steps", "2", "--stage", "3", "--resume") == 0
    assert teacher_digest(out) != teacher_digest(sharp)
    before, after = (load_discriminator(folder).state_dict() for folder in (sharp, out))
    for name, value in after.items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize("stage", ["2", "3"])
def test_a_later_stage_needs_a_start(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], stage: str
) -> None:
    options = ("--preset", "tiny", "--stage", stage, "--steps", "9")
    assert train(photo_folder, tmp_path, *options) == 1
    assert "--from" in capsys.readouterr().err
    assert train(photo_folder, trained, *options, "--resume") == 1
    assert "is a checkpoint of stage 1" in capsys.readouterr().err


def test_no_encoder_is_frozen_before_it_has_learnt(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(photo_folder, tmp_path, "--preset", "tiny", "--steps", "1", "--frozen-encoder") == 1
    assert "give that teacher with --from" in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_stage_one_has_no_discriminator(
    photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert train(photo_folder, tmp_path, "--steps", "1", "--discriminator-learning-rate", "3e-4") == 1
    assert "--stage 2" in capsys.readouterr().err
