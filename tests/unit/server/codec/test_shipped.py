from pathlib import Path

import numpy as np
import pytest
import safetensors.numpy
import torch

from microdose.errors import NotFound, UnsupportedVersion
from microdose_server.codec import shipped
from microdose_server.codec.discriminator import Discriminator
from microdose_server.codec.encode import Encoder, to_tensor
from microdose_server.codec.folder import DISCRIMINATOR, TEACHER, weights_folder
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.data import Pixels


@pytest.fixture
def folder(tmp_path: Path, tiny_teacher: Teacher) -> Path:
    shipped.save_teacher("tiny", tiny_teacher.state_dict(), tmp_path / "teacher")
    return tmp_path / "teacher"


def test_a_teacher_comes_back_in_half_precision(folder: Path, tiny_teacher: Teacher) -> None:
    loaded = shipped.load_teacher(folder=folder)
    assert loaded.preset == PRESETS["tiny"]
    assert not loaded.training
    parameters = dict(loaded.named_parameters())
    for name, value in tiny_teacher.named_parameters():
        expected = value if "z_prior" in name else value.half().float()
        assert torch.equal(parameters[name], expected), name
        assert not parameters[name].requires_grad


def test_a_loaded_teacher_is_a_fixed_point(folder: Path, tmp_path: Path) -> None:
    loaded = shipped.load_teacher(folder=folder)
    digest = shipped.save_teacher("tiny", loaded.state_dict(), tmp_path / "again")
    assert digest == shipped.teacher_digest(folder)


def test_a_missing_teacher_is_named(tmp_path: Path) -> None:
    with pytest.raises(NotFound, match="microdose-server train"):
        shipped.load_teacher(folder=tmp_path)


def test_teachers_of_another_shape_are_refused(folder: Path) -> None:
    path = folder / TEACHER
    tensors = safetensors.numpy.load_file(path)
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"preset": "gigantic"}))
    with pytest.raises(UnsupportedVersion, match="tiny"):
        shipped.load_teacher(folder=folder)
    del tensors["g_a.0.weight"]
    tensors["g_b.0.weight"] = np.zeros(1, np.float16)
    path.write_bytes(safetensors.numpy.save(tensors, metadata={"preset": "tiny"}))
    with pytest.raises(UnsupportedVersion, match=r"g_a\.0\.weight.*g_b\.0\.weight"):
        shipped.load_teacher(folder=folder)


@pytest.fixture
def critic(folder: Path) -> Discriminator:
    """Of the same teacher, and saved beside it."""
    torch.manual_seed(0)
    critic = Discriminator(PRESETS["tiny"].latent_channels).eval()
    shipped.save_discriminator("tiny", critic.state_dict(), folder)
    return critic


def test_a_discriminator_comes_back_with_the_same_verdicts(folder: Path, critic: Discriminator) -> None:
    loaded = shipped.load_discriminator(folder)
    assert not loaded.training
    assert not any(parameter.requires_grad for parameter in loaded.parameters())
    picture, y_hat = torch.rand(1, 3, 64, 96), torch.randn(1, 16, 4, 6)
    torch.testing.assert_close(loaded(picture, y_hat), critic(picture, y_hat), rtol=0.01, atol=0.003)
    stored = safetensors.numpy.load_file(folder / DISCRIMINATOR)
    assert {str(array.dtype) for name, array in stored.items() if "original" in name} == {"float16"}


def test_a_teacher_of_stage_1_has_no_discriminator(folder: Path) -> None:
    with pytest.raises(NotFound, match=r"MICRODOSE_DISTIL_BETA .* train --stage 2"):
        shipped.load_discriminator(folder)


def test_discriminators_of_another_shape_are_refused(folder: Path, critic: Discriminator) -> None:
    state = critic.state_dict()
    del state["condition.0.bias"]
    shipped.save_discriminator("tiny", state, folder)
    with pytest.raises(UnsupportedVersion, match=r"condition\.0\.bias"):
        shipped.load_discriminator(folder)
    shipped.save_discriminator("medium", critic.state_dict(), folder)
    with pytest.raises(UnsupportedVersion, match="another shape"):
        shipped.load_discriminator(folder)


def test_a_discriminator_of_another_teacher_is_refused(folder: Path, critic: Discriminator) -> None:
    other = {name: value + 1.0 for name, value in shipped.load_teacher(folder=folder).state_dict().items()}
    shipped.save_teacher("tiny", other, folder)
    with pytest.raises(UnsupportedVersion, match="was not trained against"):
        shipped.load_discriminator(folder)


def test_the_shipped_teacher_and_base_belong_together(shipped_encoder: Encoder) -> None:
    digest = shipped.teacher_digest(weights_folder())
    assert shipped_encoder.base.document.teacher == digest
    meta = shipped.load_meta()
    assert (meta["preset"], meta["digest"]) == (shipped_encoder.teacher.preset.name, digest)


def test_the_shipped_teacher_pays_no_more_for_a_whole_picture_than_for_its_tiles(
    photographs: list[Pixels],
) -> None:
    """It has to know pictures from within, not only crops, whose latents all lie near zeros."""
    teacher = shipped.load_teacher()

    def bits(x: torch.Tensor) -> float:
        with torch.no_grad():
            return float(teacher.hyperprior(teacher.g_a(x)).rounded_bits)

    wholes = [to_tensor(np.ascontiguousarray(photo[:384, :640])) for photo in photographs]
    tiles = [tile for x in wholes for rows in x.split(128, 2) for tile in rows.split(128, 3)]
    assert len(tiles) == 30
    assert sum(map(bits, wholes)) < 1.05 * sum(map(bits, tiles))
