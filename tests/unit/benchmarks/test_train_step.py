import json
from pathlib import Path

import numpy as np
import pytest

from benchmarks.train_step import SEEN, Row, figures, main, noise, parser, photographs, product, step_work
from microdose_server.codec.presets import PRESETS
from microdose_server.codec.teacher import Teacher
from microdose_server.training.batches import Batches
from microdose_server.training.loop import Run
from microdose_server.training.lpips import LPIPS
from microdose_server.training.recipe import Recipe
from tests.photos import encode, photo


def row(preset: str, stage: int = 1) -> Row:
    return Row(preset, stage, 0.5, 10.0, 1.0, 22.0, 55.0, 0.4, 0.3, 0.01, 1.5)


def test_the_products_of_the_optimiser_are_counted_apart() -> None:
    run = Run(Teacher(PRESETS["tiny"]), Recipe(batch=2, crop=64), "cpu")
    with Batches([noise(64)], 2, 64, np.random.default_rng(0)) as batches:
        calls, optimizer = step_work(run, batches, LPIPS())
    assert sum(call.macs() for call in calls) > optimizer > 0


def test_no_more_photographs_are_loaded_than_steps_need(tmp_path: Path) -> None:
    for n in range(SEEN + 2):
        (tmp_path / f"{n:02}.png").write_bytes(encode(photo(n, 72, 64)))
    (tmp_path / "00.png").write_bytes(encode(photo(0, 72, 48)))  # too small for a crop
    found = photographs(tmp_path, 64)
    assert len(found) == SEEN
    assert np.array_equal(found[0], photo(1, 72, 64))
    assert [each.shape for each in photographs(None, 64)] == [(192, 192, 3)]


def test_with_memory_all_are_drawn_from_and_decoded_as_they_are(tmp_path: Path) -> None:
    for n in range(SEEN + 2):
        (tmp_path / f"{n:02}.png").write_bytes(encode(photo(n, 72, 64)))
    found = photographs(tmp_path, 64, memory=1e-6)
    assert len(found) == SEEN + 2
    (tmp_path / "03.png").write_bytes(encode(photo(99, 72, 64)))  # not decoded yet: what is there now is seen
    assert np.array_equal(found[3], photo(99, 72, 64))
    enough = photographs(tmp_path, 64, memory=1.0)
    (tmp_path / "03.png").unlink()
    assert np.array_equal(enough[3], photo(99, 72, 64))


def test_the_machine_has_a_rate() -> None:
    rate = product("cpu")
    assert 1e6 < rate() < 1e15
    assert rate() > 1e6


def test_stages_are_told_apart() -> None:
    found = figures([row("tiny"), row("tiny", stage=2)])
    assert found["step_s"] == {"tiny": 0.5, "tiny_stage2": 0.5}
    assert found["roofline_fraction"]["tiny"] == 0.4
    assert found["steps_per_s"]["tiny_stage2"] == 2.0
    assert found["peak_gib"]["tiny"] == 1.5


def test_everything_is_measured(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    options = ["--presets", "tiny", "--stages", "1", "2", "--batch", "2", "--crop", "64", "--steps", "1"]
    assert main([*options, "--threads", "1", "--photos", str(folder), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["figures"]["step_s"].keys() == {"tiny", "tiny_stage2"}
    first, second = found["rows"]
    assert first["gmac"] < second["gmac"]
    for each in found["rows"]:
        work = each["gmac"] + each["optimizer_gmac"]
        assert each["gmac_per_s"] == pytest.approx(work / each["step_s"])
        assert each["roofline_fraction"] == pytest.approx(each["gmac_per_s"] / each["gemm_gmac_per_s"])
    assert (found["photos"], found["memory_gib"]) == (2, None)


def test_steps_can_draw_from_what_does_not_fit_into_memory(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    options = ["--presets", "tiny", "--batch", "1", "--crop", "64", "--steps", "1", "--threads", "1"]
    assert main([*options, "--photos", str(folder), "--memory", "1e-6", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["photos"], found["memory_gib"]) == (2, 1e-6)


def test_without_json_there_is_a_table(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--presets", "tiny", "--batch", "1", "--crop", "64", "--steps", "1", "--threads", "1"]) == 0
    assert capsys.readouterr().out.startswith("preset")


def test_what_is_wrong_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--presets", "tiny", "--photos", str(tmp_path)]) == 1
    assert "holds no picture" in capsys.readouterr().err
    assert main(["--presets", "tiny", "--memory", "1"]) == 1
    assert "give their folder by --photos" in capsys.readouterr().err


def test_one_of_several_processes_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert main(["--presets", "tiny"]) == 1
    assert "without torchrun" in capsys.readouterr().err


def test_help_has_an_example() -> None:
    assert "example:" in parser().format_help()
