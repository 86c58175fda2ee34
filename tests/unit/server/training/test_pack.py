import json
from pathlib import Path

import pytest
import torch

from microdose.errors import NotFound, UnsupportedVersion
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import load_discriminator, load_meta, load_teacher, teacher_digest
from microdose_server.codec.teacher import Teacher
from microdose_server.training.adversarial import AdversarialRun
from microdose_server.training.checkpoint import save_state
from microdose_server.training.loop import Run
from microdose_server.training.pack import pack
from microdose_server.training.recipe import Recipe, StageTwo


@pytest.fixture
def checkpoint(tmp_path: Path) -> Path:
    torch.manual_seed(0)
    run = Run(Teacher(PRESETS["tiny"]), Recipe(), "cpu")
    run.ema["g_a.0.weight"].fill_(0.25)
    run.step = 12
    save_state(run.state(), tmp_path / "checkpoint.pt")
    return tmp_path / "checkpoint.pt"


def test_the_averaged_weights_are_shipped(checkpoint: Path, tmp_path: Path) -> None:
    digest = pack(checkpoint, "tiny", tmp_path / "out", {"photos": 5})
    assert digest == teacher_digest(tmp_path / "out")
    teacher = load_teacher(folder=tmp_path / "out")
    assert bool((dict(teacher.named_parameters())["g_a.0.weight"] == 0.25).all())
    meta = load_meta(tmp_path / "out")
    figures = {"stage": 1, "steps": 12, "training_seconds": 0, "photos": 5}
    assert meta == {"preset": "tiny", **figures, "digest": digest}
    assert json.loads((tmp_path / "out" / "meta.json").read_text()) == meta


def test_the_discriminator_of_stage_2_comes_along(checkpoint: Path, tmp_path: Path) -> None:
    run = AdversarialRun(Teacher(PRESETS["tiny"]), StageTwo(), "cpu")
    save_state(run.state(), tmp_path / "sharp.pt")
    pack(tmp_path / "sharp.pt", "tiny", tmp_path / "out", {})
    assert load_meta(tmp_path / "out")["stage"] == 2
    learnt = dict(run.discriminator.named_parameters())
    for name, value in load_discriminator(tmp_path / "out").named_parameters():
        assert torch.equal(value, learnt[name].half().float()), name
    pack(checkpoint, "tiny", tmp_path / "out", {})
    with pytest.raises(NotFound):  # which would judge another teacher's pictures
        load_discriminator(tmp_path / "out")


def test_another_preset_is_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedVersion):
        pack(checkpoint, "medium", tmp_path / "out", {})
