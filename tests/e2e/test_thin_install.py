"""The plain install, as a viewer gets it: a new environment, no extras, and a stream to decode."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microdose.decoder import Decoder
from microdose.mds import write_mds
from tests.tiny_base import TinySequence, tiny_sequence

ROOT = Path(__file__).parents[2]
pytestmark = pytest.mark.timeout(900)  # an installation from the registry
TOO_HEAVY = ("torch", "compressai", "fastapi", "rq", "av")


@pytest.fixture(scope="module")
def binaries(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of programs of an environment with `pip install .` in it and nothing else."""
    environment = tmp_path_factory.mktemp("thin") / "venv"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    pip = [sys.executable, "-m", "pip", "--python", str(environment), "--quiet"]
    install = ["install", "--no-compile", "--disable-pip-version-check"]
    subprocess.run([*pip, *install, "--constraint", str(ROOT / "constraints.txt"), str(ROOT)], check=True)
    return environment / "bin"


@pytest.fixture(scope="module")
def published() -> TinySequence:
    return tiny_sequence(2)


def test_decodes_a_stream(binaries: Path, published: TinySequence, tmp_path: Path) -> None:
    (tmp_path / "tiny.mds").write_bytes(write_mds(published.manifest, published.blobs))
    subprocess.run([binaries / "microdose", "decode", "tiny.mds", "-o", "out"], cwd=tmp_path, check=True)
    (epoch,) = published.manifest.epochs
    assert epoch.dose is not None
    decoder = Decoder(published.base, published.blobs[epoch.dose.digest])
    for entry in published.manifest.segments:
        expected = decoder.decode(published.blobs[entry.blob.digest]).pixels
        with Image.open(tmp_path / "out" / f"{entry.name}") as image:
            assert np.abs(np.asarray(image).astype(int) - expected).max() <= 1


@pytest.mark.parametrize("module", TOO_HEAVY)
def test_has_nothing_heavy(binaries: Path, module: str) -> None:
    found = subprocess.run([binaries / "python", "-c", f"import {module}"], capture_output=True, check=False)
    assert b"ModuleNotFoundError" in found.stderr
