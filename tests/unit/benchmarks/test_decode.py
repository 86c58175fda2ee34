import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from benchmarks.decode import (
    HIFIC,
    HIFIC_PAPER,
    ONNXRUNTIME,
    TEACHER,
    Graphs,
    Row,
    figures,
    latents,
    line_up,
    main,
    parser,
)
from microdose_server.codec.folder import load_bases
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.shipped import load_teacher
from microdose_server.codec.student import STUDENTS, build_student
from microdose_server.codec.teacher import Generator
from microdose_server.evaluate.scene import Scene
from microdose_server.evaluate.timing import Stages

SCENE = Scene(80, 48, b"", np.zeros((16, 3, 5), np.float32))


def row(decoder: str, synthesis_ms: float, engine: str = ONNXRUNTIME, threads: int = 2) -> Row:
    entropy, hyper = (2.0, 3.0) if engine == ONNXRUNTIME else (None, None)
    return Row(decoder, engine, threads, "1920x1080", Stages(entropy, hyper, synthesis_ms), runs=3)


def test_ratios_are_of_one_engine_at_the_most_threads(weights: Path) -> None:
    field = line_up(load_bases(weights), load_teacher(folder=weights).g_s, hific=False)
    rows = [row(TEACHER, 95), row("standard", 5), row(TEACHER, 60, "torch"), row("standard", 6, "torch")]
    rows = [row("standard", 50, threads=1), row(TEACHER, 50, threads=1), *rows]
    found = figures(rows, field, decoded=8000)
    assert found["time_ratio_teacher_1080p"] == 100 / 10
    assert found["synthesis_ratio_teacher_1080p"] == 95 / 5
    assert found["synthesis_ratio_teacher_1080p_torch"] == 60 / 6
    assert found["fps"] == {"standard_1080p": 100}
    assert found["entropy_msym_s"] == 4
    assert found["params_ratio_teacher"] > 1


def test_a_device_that_is_not_there_is_missed_at_once(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--torch", "cuda:99"]) == 1
    assert "there is no cuda:99 here" in capsys.readouterr().err


def test_hific_paints_from_its_own_channels() -> None:
    assert latents(TEACHER, SCENE) is SCENE.y_hat
    assert latents(HIFIC, SCENE).shape == latents(HIFIC_PAPER, SCENE).shape == (220, 3, 5)


def test_the_other_students_take_part(weights: Path) -> None:
    field = line_up(load_bases(weights), load_teacher(folder=weights).g_s, hific=False)
    assert field.shipped == "standard"
    assert set(field.students()) == {"live", "standard", "fine", "paper"}
    assert Graphs.of(field).whole.keys() == field.all().keys()


def test_the_papers_student_of_hific_is_held_to_the_papers_claims(weights: Path) -> None:
    field = line_up(load_bases(weights), load_teacher(folder=weights).g_s, hific=False)
    with torch.device("meta"):
        hific = Generator(PRESETS[HIFIC])
    paper = build_student(STUDENTS["paper"], hific)
    field = replace(field, foreign={HIFIC: hific, HIFIC_PAPER: paper})
    alone = [Row(HIFIC, ONNXRUNTIME, 2, "768x512", Stages(None, None, 100.0), 2)]
    alone.append(Row(HIFIC_PAPER, ONNXRUNTIME, 2, "768x512", Stages(None, None, 25.0), 2))
    rows = [Row("standard", ONNXRUNTIME, 2, "768x512", Stages(1.0, 1.0, 2.0), 2), *alone]
    found = figures(rows, field, decoded=1000)
    assert found["time_ratio_hific_768x512"] == 25.0
    assert found["paper"]["time_ratio"] == {"claimed": 2.0, "measured": 4.0}
    assert found["paper"]["params_ratio"]["measured"] == pytest.approx(20.1, abs=0.1)


@pytest.mark.parametrize("engine", [[], ["--torch", "cpu"]])
def test_everything_is_timed(
    engine: list[str], weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = [
        "--weights",
        str(weights),
        "--sizes",
        "64x48",
        "--threads",
        "1",
        "--rounds",
        "1",
        "--no-hific",
        "--json",
    ]
    assert main([*options, *engine, "--picture", str(folder / "0.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["decoder"] for row in found["rows"]} >= {TEACHER, "live", "standard"}
    assert found["figures"]["time_ratio_teacher_64x48"] > 0
    assert found["figures"]["params_ratio_hific"] > 1000
    assert all(row["micro_ms"] > 0 for row in found["rows"] if row["engine"] == ONNXRUNTIME)
    assert ("synthesis_ratio_teacher_64x48_torch" in found["figures"]) == bool(engine)
    assert found["picture"] == "0.png"
    assert found["machine"]["onnxruntime"]


def test_without_json_there_is_a_table(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--weights", str(weights), "--sizes", "64x48", "--threads", "1", "--rounds", "1"]
    assert main([*options, "--no-hific"]) == 0
    assert capsys.readouterr().out.startswith("decoder")


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", str(tmp_path)]) == 1
    assert "no teacher" in capsys.readouterr().err


@pytest.mark.parametrize("size", ["768", "axb", "1x2x3"])
def test_a_size_is_width_and_height(size: str) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--sizes", size])


def test_help_has_an_example() -> None:
    assert "example:" in parser().format_help()
