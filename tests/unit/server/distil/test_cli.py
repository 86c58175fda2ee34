import json
import shutil
import signal
from pathlib import Path

import pytest
import torch

from microdose.decoder import Decoder
from microdose.errors import UnsupportedVersion
from microdose_server.cli import main
from microdose_server.codec.encode import Encoder
from microdose_server.codec.folder import load_base, load_bases
from microdose_server.codec.shipped import load_teacher, teacher_digest
from microdose_server.codec.student import STUDENTS, student_from_onnx
from microdose_server.codec.teacher import Teacher
from microdose_server.distil import cli, generic
from microdose_server.distil.cli import hyper_latents
from microdose_server.distil.generic import GenericRun
from microdose_server.distil.progress import Progress
from microdose_server.training.data import Pixels
from microdose_server.training.recipe import Recipe


@pytest.fixture(scope="module")
def distilled(trained: Path, photo_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained teacher's folder with the base that `microdose-server distil` adds."""
    folder = shutil.copytree(trained, tmp_path_factory.mktemp("distilled") / "photos")
    options = ["--student", "tiny", "--steps", "6", "--crop", "64"]
    assert main(["distil", str(folder), str(photo_folder), *options]) == 0
    return folder


def test_leaves_a_base_that_belongs_to_the_teacher(distilled: Path) -> None:
    document = load_base(distilled, "tiny").document
    assert document.name == "photos-tiny"
    assert document.teacher == teacher_digest(distilled)


def test_the_folder_encodes_and_a_client_decodes(distilled: Path, photographs: list[Pixels]) -> None:
    encoder = Encoder(teacher=load_teacher(folder=distilled), base=load_base(distilled, "tiny"))
    pixels = photographs[1][50:161, 60:310]
    encoded = encoder.encode(pixels)
    made = Decoder(load_base(distilled, "tiny"), threads=1).decode(encoded.segment).pixels
    assert made.shape == encoded.x_hat.shape == pixels.shape
    assert made.std() > 1.0


def test_progress_can_be_read_by_programs(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained, tmp_path / "teacher")
    command = [
        "distil",
        str(folder),
        str(photo_folder),
        "--student",
        "tiny",
        "--crop",
        "64",
        "--steps",
        "1",
        "--name",
        "other",
    ]
    assert main([*command, "--json"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert set(json.loads(line)) == {"step", "steps", "loss", "psnr"}
    assert main(command) == 0
    assert capsys.readouterr().err.startswith("step 1/1  loss ")
    assert load_base(folder, "tiny").document.name == "other"


def test_failures_are_one_clear_line(
    trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    for folders, message in (
        ((tmp_path, photo_folder), "no teacher at"),
        ((trained, tmp_path), "holds no picture"),
    ):
        assert main(["distil", *map(str, folders), "--student", "tiny", "--steps", "1"]) == 1
        (line,) = capsys.readouterr().err.splitlines()
        assert message in line


def test_calibration_sees_integers_of_a_few_pictures(
    tiny_teacher: Teacher, photographs: list[Pixels]
) -> None:
    latents = hyper_latents(tiny_teacher, [photographs[0]] * 50)
    assert 24 <= len(latents) < 48
    for z in latents:
        assert z.shape == (1, tiny_teacher.preset.hyper_channels, 6, 6)
        assert torch.equal(z, torch.round(z))


def test_another_student_shares_the_hyper_synthesis(
    distilled: Path, photo_folder: Path, tmp_path: Path
) -> None:
    folder = shutil.copytree(distilled, tmp_path / "teacher")
    before = (folder / "hyper.onnx").read_bytes()
    options = ["--student", "paper", "--steps", "2", "--crop", "64", "--alpha", "0.5", "--features", "0.1"]
    assert main(["distil", str(folder), str(photo_folder), *options]) == 0
    bases = load_bases(folder)
    assert bases.keys() == {"paper", "tiny"}
    assert {base.hyper for base in bases.values()} == {before}


def test_begins_with_another_teachers_student(
    distilled: Path, trained: Path, photo_folder: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = shutil.copytree(trained, tmp_path / "next")
    command = ["distil", str(folder), str(photo_folder), "--student", "tiny", "--steps", "1", "--crop", "64"]
    assert main([*command, "--from", str(distilled)]) == 0
    taken_up, learnt = (
        dict(student_from_onnx(load_base(each, "tiny").student).named_parameters())
        for each in (folder, distilled)
    )
    for name, value in taken_up.items():  # the first step is of no length
        torch.testing.assert_close(value, learnt[name], atol=1e-5, rtol=1e-5)
    assert main([*command, "--from", str(trained)]) == 1
    assert "holds no base of a student 'tiny'" in capsys.readouterr().err


def test_an_interrupted_distillation_goes_on(
    trained: Path,
    photo_folder: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    folder = shutil.copytree(trained, tmp_path / "teacher")
    monkeypatch.setattr(generic, "CHECKPOINT_S", 0.0)
    command = ["distil", str(folder), str(photo_folder), "--student", "tiny", "--json"]
    first = ["--steps", "3", "--alpha", "0.5", "--features", "0.1", "--batch", "2", "--crop", "64"]

    def stop(progress: Progress, *, as_json: bool) -> None:
        signal.raise_signal(signal.SIGTERM)

    for step, options in ((2, first), (4, ["--steps", "5", "--resume"])):
        with monkeypatch.context() as interrupted:
            interrupted.setattr(cli, "_print", stop)
            interrupted.setattr(cli, "REPORT_EVERY", 2)
            assert main([*command, *options]) == 1
        state = cli.read_checkpoint(folder / "tiny" / "checkpoint.pt")
        assert (state["step"], state["recipe"]["crop"]) == (step, 64)
        assert state["aim"] == {"alpha": 0.5, "features": 0.1}
    capsys.readouterr()
    assert main([*command, "--steps", "5", "--resume", "--alpha", "1"]) == 1
    assert "has --alpha 0.5 and cannot go on with 1.0" in capsys.readouterr().err
    assert main([*command, "--steps", "5", "--resume"]) == 0
    (line,) = capsys.readouterr().out.splitlines()
    assert json.loads(line)["step"] == 5
    assert load_base(folder, "tiny")
    assert main([*command, "--steps", "3", "--resume"]) == 1
    assert "no checkpoint at" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (("--resume", "--from", "other"), "--from: not allowed with argument --resume"),
        (("--device", "tpu"), "--device: must be cpu, cuda or cuda:N"),
    ],
)
def test_what_no_run_can_do_is_refused(
    tmp_path: Path, options: tuple[str, ...], told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        main(["distil", str(tmp_path), str(tmp_path), "--steps", "1", *options])
    assert told in capsys.readouterr().err


def test_a_checkpoint_of_another_student_is_refused(tiny_teacher: Teacher, tmp_path: Path) -> None:
    state = GenericRun.start(tiny_teacher, STUDENTS["tiny"], Recipe()).state()
    other = GenericRun.start(tiny_teacher, STUDENTS["live"], Recipe())
    with pytest.raises(UnsupportedVersion, match="not a checkpoint of this student"):
        cli.resume(other, state, tmp_path / "c.pt")
