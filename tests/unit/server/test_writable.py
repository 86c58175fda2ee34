from pathlib import Path

import pytest

from microdose.errors import BadUpload
from microdose_server.writable import writable


def test_a_folder_is_made_with_all_above_it(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "one"
    assert writable(folder) == folder
    assert writable(folder).is_dir()


def test_what_cannot_be_made_is_refused_with_the_reason(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(BadUpload, match=r"x cannot be made \(Not a directory\)"):
        writable(tmp_path / "file" / "x")
    with pytest.raises(BadUpload, match="file cannot be made"):
        writable(tmp_path / "file")
