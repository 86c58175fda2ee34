import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from microdose.errors import NotFound
from microdose.mds import write_mds
from microdose_server.cli import main
from microdose_server.evaluate.cli import read_original, write_report
from microdose_server.evaluate.compare import Comparison
from microdose_server.training.data import Pixels
from tests.tiny_base import tiny_sequence


def test_originals_are_found_by_name(tmp_path: Path) -> None:
    first, second, *_ = tiny_sequence().manifest.segments
    pixels = np.random.default_rng(0).integers(0, 256, (24, 40, 3), np.uint8)
    Image.fromarray(pixels).save(tmp_path / "0.png")
    assert (read_original(tmp_path, first) == pixels).all()
    with pytest.raises(NotFound, match=r"1\.png"):
        read_original(tmp_path, second)


def test_a_name_never_leaves_the_folder(tmp_path: Path) -> None:
    (tmp_path / "secret.png").write_bytes(b"")
    (tmp_path / "originals").mkdir()
    entry = tiny_sequence().manifest.segments[0].model_copy(update={"name": "../secret.png"})
    with pytest.raises(NotFound):
        read_original(tmp_path / "originals", entry)


def test_report_and_sheet_are_written(dosed: Comparison, originals: list[Pixels], tmp_path: Path) -> None:
    found = write_report(tmp_path / "new", dosed, list(dosed.pictures(originals)))
    assert json.loads((tmp_path / "new" / "report.json").read_text()) == found
    assert found["pictures"] == len(originals)
    with Image.open(tmp_path / "new" / "comparison.png") as sheet:
        assert sheet.width > 6 * originals[0].shape[1]


def test_a_sequence_of_another_teacher_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = tmp_path / "old.mds"
    sequence = tiny_sequence(1)
    file.write_bytes(write_mds(sequence.manifest, dict(sequence.blobs)))
    Image.new("RGB", (40, 24)).save(tmp_path / "0.png")
    assert main(["bench", str(file), str(tmp_path)]) == 1
    assert "old.mds was made by another teacher" in capsys.readouterr().err
