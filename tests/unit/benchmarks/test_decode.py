import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.decode import (
    HIFIC,
    ONNXRUNTIME,
    TEACHER,
    Row,
    Scene,
    figures,
    latents,
    line_up,
    main,
    parser,
    pink,
)
from microdose_server.codec.folder import load_bases
from microdose_server.codec.shipped import load_teacher
from microdose_server.evaluate.timing import Stages

SCENE = Scene(80, 48, b"", np.zeros((16, 3, 5), np.float32))


def row(decoder: str, synthesis_ms: float, engine: str = ONNXRUNTIME, threads: int = 2) -> Row:
    entropy, hyper = (2.0, 3.0) if engine == ONNXRUNTIME else (None, None)
    return Row(decoder, engine, threads, "1920x1080", Stages(entropy, hyper, synthesis_ms), runs=3)


def test_ratios_are_of_one_engine_at_the_most_threads(weights: Path) -> None:
    field = line_up(load_bases(weights), load_teacher(folder=weights).g_s, hific=False)
    rows = [row(TEACHER, 95), row("standard", 5), row(TEACHER, 60, "torch"), row("standard", 6, "torch")]
    rows = [row("standard", 50, threads=1), row(TEACHER, 50, threads=1), *rows]
    found = figures(rows, field, symbols=8000)
    assert found["time_ratio_teacher_1080p"] == 100 / 10
    assert found["synthesis_ratio_teacher_1080p"] == 95 / 5
    assert found["synthesis_ratio_teacher_1080p_torch"] == 60 / 6
    assert found["fps"] == {"standard_1080p": 100}
    assert found["entropy_msym_s"] == 4
    assert found["params_ratio_teacher"] > 1


def test_hific_paints_from_its_own_channels() -> None:
    assert latents(TEACHER, SCENE) is SCENE.y_hat
    assert latents(HIFIC, SCENE).shape == (220, 3, 5)


def test_the_other_students_take_part(weights: Path) -> None:
    field = line_up(load_bases(weights), load_teacher(folder=weights).g_s, hific=False)
    assert field.shipped == "standard"
    assert field.students.keys() == {"live", "standard", "fine", "paper"}
    assert field.graphs().keys() == field.networks.keys()


def test_noise_has_more_of_the_low_frequencies() -> None:
    grey = pink(64, 48)[..., 0].astype(float)
    assert grey.std() > 30
    assert np.abs(np.diff(grey, axis=1)).mean() < grey.std()


@pytest.mark.parametrize("engine", [[], ["--torch", "cpu"]])
def test_everything_is_timed(
    engine: list[str], weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--weights", str(weights), "--sizes", "64x48", "--threads", "1", "--rounds", "1", "--json"]
    assert main([*options, *engine, "--picture", str(folder / "0.png")]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {row["decoder"] for row in found["rows"]} >= {TEACHER, "live", "standard"}
    assert found["figures"]["time_ratio_teacher_64x48"] > 0
    assert ("synthesis_ratio_teacher_64x48_torch" in found["figures"]) == bool(engine)
    assert found["picture"] == "0.png"
    assert found["machine"]["onnxruntime"]


def test_without_json_there_is_a_table(weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--weights", str(weights), "--sizes", "64x48", "--threads", "1", "--rounds", "1"]) == 0
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
