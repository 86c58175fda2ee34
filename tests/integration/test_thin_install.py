"""The client stays thin: it loads nothing of the server's, and a plain install is enough to decode."""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microdose_client import file_info, file_pictures

ROOT = Path(__file__).parents[2]
GOLDEN = sorted((ROOT / "tests" / "golden").rglob("*.mds"))
HEAVY = ("torch", "compressai", "fastapi", "starlette", "uvicorn", "rq", "av", "onnx", "microdose_server")

IMPORT_ALL = """
import importlib, pkgutil, sys
import microdose, microdose_client
for package in (microdose, microdose_client):
    for module in pkgutil.walk_packages(package.__path__, package.__name__ + "."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
print(*sorted(sys.modules), sep="\\n")
"""

INSTALLED = """
from importlib.metadata import distributions
print(*sorted(d.metadata["Name"].lower() for d in distributions()), sep="\\n")
"""


def output(*command: str | Path, **environment: str) -> str:
    """What a command prints; its complaint if it fails."""
    done = subprocess.run(
        command, env=os.environ | environment, capture_output=True, text=True, check=False, timeout=900
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_no_module_of_the_client_loads_anything_heavy() -> None:
    path = os.pathsep.join([str(ROOT / "shared"), str(ROOT / "client")])
    loaded = set(output(sys.executable, "-W", "error", "-c", IMPORT_ALL, PYTHONPATH=path).split())
    assert {"microdose.decoder", "microdose_client.cli", "onnxruntime"} <= loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.timeout(900)
def test_a_plain_install_decodes(tmp_path: Path) -> None:
    """In a fresh virtual environment, outside the source tree, as a user would."""
    assert GOLDEN, "tests/golden has no .mds file"
    venv, cache = tmp_path / "venv", str(tmp_path / "cache")
    output(sys.executable, "-m", "venv", venv)
    python = venv / "bin" / "python"
    constraints = ("--constraint", ROOT / "constraints.txt")
    output(python, "-m", "pip", "install", "--quiet", *constraints, ROOT, PIP_CACHE_DIR=cache, PYTHONPATH="")
    assert set(output(python, "-c", INSTALLED, PYTHONPATH="").split()).isdisjoint(HEAVY)

    for mds in GOLDEN:
        out = tmp_path / mds.stem
        output(venv / "bin" / "microdose", "decode", mds, "-o", out, MICRODOSE_CACHE=cache, PYTHONPATH="")
        pngs = sorted(out.iterdir())
        assert len(pngs) == file_info(mds).pictures
        compare(pngs, mds)


def compare(pngs: list[Path], mds: Path) -> None:
    """Every file shows a picture that this process decodes too, give or take one step of 255."""
    expected = [picture.pixels.astype(int) for picture in file_pictures(mds)]
    for png in pngs:
        with Image.open(png) as image:
            shown = np.asarray(image).astype(int)
        same = [one for one in expected if one.shape == shown.shape and np.abs(one - shown).max() <= 1]
        assert same, png.name
