from pathlib import Path

import numpy as np
import pytest

from microdose.errors import BadUpload
from microdose_server.evaluate.pictures import picture_files, read_pictures
from tests.photos import encode, photo


def test_pictures_by_name_and_nothing_else(tmp_path: Path) -> None:
    for n in (2, 0, 1):
        (tmp_path / f"{n}.png").write_bytes(encode(photo(n)))
    (tmp_path / "notes.txt").write_text("")
    found = dict(read_pictures(picture_files(tmp_path)))
    assert list(found) == ["0.png", "1.png", "2.png"]
    assert np.array_equal(found["2.png"], photo(2))
    assert [file.name for file in picture_files(tmp_path, 2)] == ["0.png", "1.png"]


@pytest.mark.parametrize("name", ["empty", "absent"])
def test_no_picture_is_an_error(tmp_path: Path, name: str) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(BadUpload, match="no picture"):
        picture_files(tmp_path / name)
