from pathlib import Path

import numpy as np
import pytest

from microdose.errors import BadPicture, BadUpload
from microdose_server.evaluate.pictures import check_pictures, picture_files, read_pictures
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


def test_what_is_refused_is_named_before_anything_is_read(tmp_path: Path) -> None:
    good, small, broken, folder = (tmp_path / name for name in ("a.png", "b.png", "c.png", "d.png"))
    good.write_bytes(encode(photo(0, 96, 64)))
    small.write_bytes(encode(photo(0, 96, 63)))
    broken.write_bytes(b"no picture")
    folder.mkdir()
    check_pictures([good], least_side=64)
    with pytest.raises(BadPicture, match=r"b\.png: 96x63 is too small here: .* 64 pixels"):
        check_pictures([good, small], least_side=64)
    with pytest.raises(BadPicture, match=r"c\.png: not a picture"):
        check_pictures([good, broken])
    with pytest.raises(BadPicture, match=r"d\.png cannot be read: Is a directory"):
        check_pictures([folder])


def test_what_cannot_be_decoded_is_named(tmp_path: Path) -> None:
    cut = tmp_path / "cut.png"
    cut.write_bytes(encode(photo())[:-500])
    check_pictures([cut])
    with pytest.raises(BadPicture, match=r"cut\.png: PNG picture is truncated"):
        list(read_pictures([cut]))
