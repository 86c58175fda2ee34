import csv
from pathlib import Path

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from microdose_server.training.curve import BOARD, Curve
from microdose_server.training.loop import StepReport


def report(step: int) -> StepReport:
    return StepReport(step, 2.0 * step, step / 10, 1.0 / step, 0.2, 30.0, 0.1, 1e-4)


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_a_line_is_the_mean_of_a_window(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.csv", window=3)
    means = [curve.add(report(step)) for step in range(1, 8)]
    assert [mean is not None for mean in means] == [False, False, True, False, False, True, False]
    first, second = rows(tmp_path / "curve.csv")
    assert (first["step"], second["step"]) == ("3", "6")
    assert float(first["loss"]) == pytest.approx((1 + 1 / 2 + 1 / 3) / 3, rel=1e-5)
    assert (float(first["seconds"]), float(second["progress"])) == (6.0, 0.6)
    assert set(first) == set(StepReport._fields)


def test_the_rest_of_a_run_has_a_line_too(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.csv", window=3)
    for step in range(1, 6):
        curve.add(report(step))
    rest = curve.rest()
    assert rest is not None
    assert rest.step == 5
    assert rest.loss == pytest.approx((1 / 4 + 1 / 5) / 2)
    assert curve.rest() is None
    assert [row["step"] for row in rows(tmp_path / "curve.csv")] == ["3", "5"]


def test_a_line_does_not_wait_longer_than_it_may(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.csv", window=100, patience=5.0)  # a step takes two seconds
    told = [mean.step for step in range(1, 12) if (mean := curve.add(report(step)))]
    assert told == [4, 7, 10]


def test_a_resumed_run_appends(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    for start in (1, 3):
        curve = Curve(path, start - 1, window=2)
        for step in (start, start + 1):
            curve.add(report(step))
    assert [row["step"] for row in rows(path)] == ["2", "4"]


def test_a_curve_of_an_earlier_version_keeps_its_columns(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    path.write_text("step,loss\n50,0.5\n")
    Curve(path, 50, window=1).add(report(51))
    assert path.read_text().splitlines()[-1] == f"51,{1 / 51:.6g}"


def test_tensorboard_shows_the_same(tmp_path: Path) -> None:
    curve = Curve(tmp_path / "curve.csv", window=2)
    for step in range(1, 5):
        curve.add(report(step))
    curve.show("held-out", {"psnr": 31.5}, 4)
    curve.close()
    board = EventAccumulator(str(tmp_path / BOARD)).Reload()
    assert [event.step for event in board.Scalars("training/loss")] == [2, 4]
    assert board.Scalars("training/loss")[0].value == pytest.approx(0.75)
    assert board.Scalars("held-out/psnr")[0].value == 31.5
    assert "training/step" not in board.Tags()["scalars"]


def test_what_a_killed_run_told_after_its_checkpoint_comes_once(tmp_path: Path) -> None:
    path = tmp_path / "curve.csv"
    killed = Curve(path, window=1)
    for step in range(1, 5):
        killed.add(report(step))
    killed.close()
    with path.open("a") as file:
        file.write("5,10")  # killed while it wrote
    resumed = Curve(path, 2, window=1)
    for step in range(3, 6):
        resumed.add(report(step))
    resumed.close()
    assert [row["step"] for row in rows(path)] == ["1", "2", "3", "4", "5"]
    board = EventAccumulator(str(tmp_path / BOARD)).Reload()
    assert [event.step for event in board.Scalars("training/loss")] == [1, 2, 3, 4, 5]
