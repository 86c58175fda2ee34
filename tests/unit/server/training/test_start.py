from pathlib import Path

import pytest
import torch

from microdose.errors import NotFound, UnsupportedVersion
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import load_meta
from microdose_server.codec.teacher import Teacher
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import load_state, save_state
from microdose_server.training.pack import pack
from microdose_server.training.recipe import StageTwo
from microdose_server.training.start import start_from


def test_a_checkpoint_gives_its_average(trained: Path) -> None:
    start, state = (
        start_from(trained / "checkpoint.pt", PRESETS["tiny"]),
        load_state(trained / "checkpoint.pt", "tiny"),
    )
    teacher, average = start.teacher, state.ema
    assert (start.recipe, start.critic) == (state.recipe, {})
    for name, value in teacher.named_parameters():
        assert torch.equal(value, average[name]), name


def test_a_folder_gives_its_teacher_ready_to_learn(trained: Path) -> None:
    start = start_from(trained, PRESETS["tiny"])
    teacher = start.teacher
    assert (start.recipe, start.critic) == (load_meta(trained)["recipe"], {})
    average = load_state(trained / "checkpoint.pt", "tiny").ema
    torch.testing.assert_close(
        teacher.state_dict()["g_a.0.weight"], average["g_a.0.weight"], rtol=1e-3, atol=1e-4
    )
    frozen = {name for name, value in teacher.named_parameters() if not value.requires_grad}
    assert frozen == {"hyperprior.z_prior.quantiles"}
    assert teacher.training


@pytest.mark.parametrize("name", ["", "checkpoint.pt"])
def test_another_preset_is_refused(trained: Path, name: str) -> None:
    with pytest.raises(UnsupportedVersion, match="--preset tiny"):
        start_from(trained / name, PRESETS["small"])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nothing.pt"):
        with pytest.raises(NotFound, match=str(tmp_path)) as caught:
            start_from(source, PRESETS["tiny"])
        assert "--resume" not in str(caught.value)


def test_the_critic_comes_along(tmp_path: Path) -> None:
    run, path = AdversarialRun(Teacher(PRESETS["tiny"]), StageTwo(), "cpu"), tmp_path / "checkpoint.pt"
    save_state(run.state(), path)
    pack(path, "tiny", tmp_path, {})
    for source in (path, tmp_path):
        critic = start_from(source, PRESETS["tiny"]).critic
        for name, value in run.discriminator.state_dict().items():
            torch.testing.assert_close(critic[name], value, rtol=1e-3, atol=1e-6)


def test_weights_of_another_version_are_refused(trained: Path, tmp_path: Path) -> None:
    state = load_state(trained / "checkpoint.pt", "tiny")
    state.ema["g_b.0.weight"] = state.ema.pop("g_a.0.weight")
    save_state(state, tmp_path / "old.pt")
    with pytest.raises(
        UnsupportedVersion, match=r"old\.pt has another shape .*g_a\.0\.weight.*g_b\.0\.weight"
    ):
        start_from(tmp_path / "old.pt", PRESETS["tiny"])
