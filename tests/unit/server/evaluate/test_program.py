"""A benchmark as a program: what goes where, and with which exit code."""

import argparse
import json
from pathlib import Path

import pytest

from microdose.errors import Unavailable
from microdose_client.progress import Report, Step, reporter
from microdose_server.evaluate.program import Found, folder, parser, perform, png, several, size


def perform_one(*arguments: str, lost: int = 0, keep: Path | None = None) -> int:
    def run(args: argparse.Namespace, progress: Report) -> Found:
        progress(Step("measuring", 0, 1))
        return {"lost": lost}

    def write(args: argparse.Namespace, found: Found) -> None:
        if keep:
            keep.write_text(json.dumps(found))

    return perform(
        "one.py",
        parser("Measure one.", "benchmarks/one.py").parse_args(arguments),
        run,
        reporter(),
        lambda found: f"{found['lost']} lost",
        keep=write,
        good=lambda found: not found["lost"],
    )


def test_results_go_to_stdout_and_progress_to_stderr(capsys: pytest.CaptureFixture[str]) -> None:
    assert perform_one() == 0
    assert capsys.readouterr() == ("0 lost\n", "measuring 0/1\n")
    assert perform_one("--json") == 0
    assert json.loads(capsys.readouterr().out) == {"lost": 0}


def test_what_is_not_good_is_told_and_kept_all_the_same(
    capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert perform_one(lost=2, keep=tmp_path / "kept") == 1
    assert capsys.readouterr().out == "2 lost\n"
    assert json.loads((tmp_path / "kept").read_text()) == {"lost": 2}


def test_what_cannot_be_kept_is_told_all_the_same(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    assert perform_one(keep=tmp_path / "missing" / "kept") == 1
    out, err = capsys.readouterr()
    assert out == "0 lost\n"
    assert err.endswith(f"'{tmp_path}/missing/kept'\n")


def test_what_cannot_be_measured_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    def run(args: argparse.Namespace, progress: Report) -> Found:
        raise Unavailable("nginx is not installed")

    assert perform("one.py", parser("", "").parse_args([]), run, reporter(), str) == 1
    assert capsys.readouterr() == ("", "one.py: nginx is not installed\n")


def test_help_has_the_example() -> None:
    assert "example: benchmarks/one.py --json" in parser("", "benchmarks/one.py --json").format_help()


def test_sizes() -> None:
    assert size("640x360") == (640, 360)
    for wrong in ("640", "640x", "axb", "1x2x3"):
        with pytest.raises(ValueError, match=r"unpack|invalid literal"):
            size(wrong)
    for wrong in ("0x0", "-640x360", "15x64"):
        with pytest.raises(argparse.ArgumentTypeError, match="too small"):
            size(wrong)


def test_several_are_at_least_two() -> None:
    assert several("2") == 2
    for wrong in ("1", "0", "-3"):
        with pytest.raises(argparse.ArgumentTypeError, match="at least"):
            several(wrong)


def test_where_results_go_is_made_before_there_are_any(tmp_path: Path) -> None:
    assert folder(str(tmp_path / "a" / "b")).is_dir()
    assert png(str(tmp_path / "c" / "plot.png")).parent.is_dir()
    (tmp_path / "file").touch()
    with pytest.raises(argparse.ArgumentTypeError, match="file cannot be made"):
        folder(str(tmp_path / "file"))
    with pytest.raises(argparse.ArgumentTypeError, match="file cannot be made"):
        png(str(tmp_path / "file" / "plot.png"))
    (tmp_path / "folder.png").mkdir()
    for wrong in ("plot.txt", "folder.png"):
        with pytest.raises(argparse.ArgumentTypeError, match=r"not the name of a \.png file"):
            png(str(tmp_path / wrong))
