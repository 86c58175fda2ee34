import json
from pathlib import Path

import pytest

from benchmarks.refine import main

SHORT = ["--pictures", "2", "--steps", "2", "--refine", "8", "--price", "1e-3", "--lmbda", "1e-9"]
WAYS = ["teacher", "generic", "dosed", "refined-dosed", "refined-generic", "refined-teacher"]


def test_every_way_is_measured(folder: Path, weights: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = [str(folder), "--weights", str(weights), *SHORT, "--dists", "1"]
    assert main([*command, "--dose", "full", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    variants, figures = found["sequences"][folder.name]["variants"], found["figures"][folder.name]
    assert list(variants) == WAYS
    assert set(figures) == {"teacher", "generic", "dosed"}
    for name, row in figures.items():
        plain, refined = variants[name], variants[f"refined-{name}"]
        assert row["bytes_ratio"] == pytest.approx(refined["bpp_total"] / plain["bpp_total"])
        assert refined["to_original"]["psnr"] > plain["to_original"]["psnr"]
        assert refined["seconds"] > 0.0
    assert variants["refined-dosed"]["dose_bytes"] == variants["dosed"]["dose_bytes"] > 0


@pytest.mark.parametrize("ways", [["generic"], ["teacher"], ["generic", "teacher"]])
def test_only_what_is_asked_for_is_refined(
    folder: Path, weights: Path, capsys: pytest.CaptureFixture[str], ways: list[str]
) -> None:
    command = [str(folder), "--weights", str(weights), *SHORT, "--dists", "0"]
    assert main([*command, "--ways", *ways]) == 0
    shown = [line.split()[0] for line in capsys.readouterr().out.splitlines()[2:]]
    assert shown == ["teacher", "generic", *(f"refined-{name}" for name in ways)]


def test_what_is_wrong_is_one_line(weights: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path), "--weights", str(weights), *SHORT, "--dists", "0"]) == 1
    assert len(capsys.readouterr().err.splitlines()) == 1
