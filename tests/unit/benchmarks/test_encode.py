import json
from pathlib import Path

import pytest

from benchmarks.encode import Row, figures, main
from microdose_server.codec.encode import EncodeTimings


def test_shares_are_of_the_time_of_all_pictures() -> None:
    small = Row("a", 1000, 500, 10, EncodeTimings(10.0, 0.0, 20.0, 70.0))
    large = Row("b", 1000, 1500, 10, EncodeTimings(90.0, 0.0, 80.0, 130.0))
    found = figures([small, large], "cpu")
    assert found["encode_ms_per_megapixel"] == 200
    assert found["share"] == {"analysis": 0.25, "hyper": 0.0, "coding": 0.25, "painting": 0.5}


def test_a_folder_is_timed(weights: Path, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(folder), "--weights", str(weights), "--limit", "1", "--rounds", "1", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    (row,) = found["rows"]
    assert row["bytes"] > 0
    assert all(row[f"{stage}_ms"] > 0 for stage in found["figures"]["share"])
    assert sum(found["figures"]["share"].values()) == pytest.approx(1)
    assert found["figures"]["peak_mib"] > 1


def test_an_empty_folder_is_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main([str(tmp_path)]) == 1
    assert capsys.readouterr().err.startswith("encode.py: ")
    assert main([str(tmp_path), "--device", "cuda:99"]) == 1
    assert "there is no cuda:99 here" in capsys.readouterr().err
