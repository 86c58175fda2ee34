import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.choices import main, parser, targets_of
from microdose.resources import DoseAim
from microdose_server.codec.encode import Encoder
from microdose_server.codec.folder import load_base
from microdose_server.codec.shipped import load_teacher
from tests.photos import photo

FIGURES = {"rung", "dose_bytes", "dose_bpp", "distortion", "cost", "saved", "steps"}


def test_every_length_is_dosed(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(folder), "--weights", str(weights), "--lengths", "1", "2", "24", "100", "--steps", "2"]
    assert main([*command, "--lmbda", "1e-9", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["figures"][folder.name]
    assert list(found) == ["1", "2"]
    assert all(row.keys() == FIGURES and row["steps"] == 2 for row in found.values())
    for row in found.values():
        assert row["cost"] == pytest.approx(row["distortion"] + 1e-9 * row["dose_bpp"])
        assert row["distortion"] < row["cost"]
    assert main([*command, "--lmbda", "1e9"]) == 0  # bytes that nothing can pay for
    rows = capsys.readouterr().out.splitlines()[1:]
    assert [row.split()[1:4] for row in rows] == [["1", "none", "0"], ["2", "none", "0"]]


def test_doses_aim_at_the_originals_unless_told_otherwise(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = [str(folder), "--weights", str(weights), "--lengths", "1", "--steps", "2", "--lmbda", "1e-9"]
    found = {}
    for given in ([], ["--aim", "originals"], ["--aim", "teacher"]):
        assert main([*command, *given, "--json"]) == 0
        made = json.loads(capsys.readouterr().out)
        found[" ".join(given)] = made["aim"], made["figures"][folder.name]["1"]["saved"]
    assert found[""] == found["--aim originals"]
    assert found[""][0] == "originals"
    assert found["--aim teacher"][0] == "teacher"
    assert found["--aim teacher"][1] != found[""][1]


def test_only_towards_the_teacher_are_pictures_painted(weights: Path) -> None:
    encoder, picture = Encoder(teacher=load_teacher(folder=weights), base=load_base(weights)), photo()
    encoded = encoder.encode(picture)
    (original,) = targets_of(encoder, [picture], DoseAim.ORIGINALS)
    (painted,) = targets_of(encoder, [picture], DoseAim.TEACHER)
    assert original.pixels is picture
    assert original.tower is None
    assert painted.tower is not None
    for target in (original, painted):
        assert np.array_equal(target.y_hat, encoded.y_hat)
    assert np.array_equal(painted.pixels, encoded.x_hat)
    assert np.array_equal(painted.tower, encoded.tower)


def test_what_is_wrong_is_one_line(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--weights", str(weights)]) == 1
    assert "holds no picture" in capsys.readouterr().err


def test_all_sequences_are_judged_before_the_first_is_measured(
    folder: Path, weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "bad.png").write_bytes(b"no picture")
    assert main([str(folder), str(tmp_path), "--weights", str(weights), "--steps", "2"]) == 1
    told = capsys.readouterr().err
    assert "bad.png: not a picture" in told
    assert "distilling" not in told


def test_help_has_an_example() -> None:
    assert "example:" in parser().format_help()
