"""The demo itself, on two pictures with a dose of a few steps: a real server, worker, Valkey and client."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

ROOT = Path(__file__).parents[2]
VARIANTS = {"teacher", "generic", "dosed", "webp", "avif"}
STAGES = {"entropy", "hyper", "synthesis", "total"}


@pytest.fixture(scope="module")
def output(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the demo wrote."""
    folder = tmp_path_factory.mktemp("demo")
    command = [sys.executable, str(ROOT / "examples" / "demo.py"), "--output", str(folder), "--pictures", "2"]
    path = os.pathsep.join(str(ROOT / part) for part in ("shared", "server", "client"))
    few = {"MICRODOSE_DISTIL_STEPS": "8", "PYTHONPATH": path}
    done = subprocess.run(command, env=os.environ | few, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "comparison.png" in done.stdout
    return folder


@pytest.fixture(scope="module")
def found(output: Path) -> dict[str, Any]:
    """The demo's report."""
    report: dict[str, Any] = json.loads((output / "report.json").read_text())
    return report


def test_every_picture_comes_back(output: Path) -> None:
    decoded = sorted((output / "decoded").glob("*.png"))
    assert len(decoded) == 2
    for file in decoded:
        with Image.open(file) as image:
            assert image.size == (640, 272)


def test_the_report_has_the_names_that_runs_are_compared_by(found: dict[str, Any]) -> None:
    assert found["pictures"] == 2
    assert found["pixels"] == 2 * 640 * 272
    assert set(found["bytes"]) == {"latents", "dose", "headers", "base"}
    assert set(found["psnr"]) == set(found["lpips"]) == VARIANTS
    assert set(found["lpips_to_teacher"]) == {"generic", "dosed"}
    assert set(found["params"]) == {"teacher_decoder", "student", "dose"}
    assert set(found["decode_ms"]["teacher"]) == set(found["decode_ms"]["student"]) == STAGES
    assert {"push", "distil", "pull"} <= set(found["seconds"])
    assert len(found["per_picture"]) == 2


def test_the_bytes_are_those_of_the_file(output: Path, found: dict[str, Any]) -> None:
    counts = found["bytes"]
    total = counts["latents"] + counts["dose"] + counts["headers"]
    assert found["bpp_total"] == pytest.approx(8 * total / found["pixels"])
    assert total + counts["base"] <= (output / "bikes.mds").stat().st_size


def test_the_pictures_are_recognisable(output: Path, found: dict[str, Any]) -> None:
    assert all(found["psnr"][variant] > 20 for variant in VARIANTS)
    with Image.open(output / "comparison.png") as sheet:
        assert sheet.width > 6 * 480
