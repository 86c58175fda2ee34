from pathlib import Path

import pytest
import torch

from microdose.errors import NotFound, UnsupportedVersion
from microdose_server.codec.presets import PRESETS
from microdose_server.training.checkpoint import load_state
from microdose_server.training.start import teacher_from


def test_a_checkpoint_gives_its_average(trained: Path) -> None:
    teacher = teacher_from(trained / "checkpoint.pt", PRESETS["tiny"])
    average = load_state(trained / "checkpoint.pt", "tiny").ema
    for name, value in teacher.named_parameters():
        assert torch.equal(value, average[name]), name


def test_a_folder_gives_its_teacher_ready_to_learn(trained: Path) -> None:
    teacher = teacher_from(trained, PRESETS["tiny"])
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
        teacher_from(trained / name, PRESETS["small"])


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    for source in (tmp_path, tmp_path / "nothing.pt"):
        with pytest.raises(NotFound, match=str(tmp_path)):
            teacher_from(source, PRESETS["tiny"])
