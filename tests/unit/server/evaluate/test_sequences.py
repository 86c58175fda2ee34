from pathlib import Path

import numpy as np
import pytest

from microdose.errors import BadPicture, BadUpload
from microdose_server.evaluate.sequences import check_sequence, read_sequence, spread
from tests.photos import encode, film, photo


def test_numbers_are_spread_over_the_whole() -> None:
    assert spread(9, 3) == [0, 4, 8]
    assert spread(2, 5) == [0, 1]
    assert spread(7, 1) == [0]


def test_pictures_of_a_folder(tmp_path: Path) -> None:
    for n in range(5):
        (tmp_path / f"{n}.png").write_bytes(encode(photo(n)))
    pictures = read_sequence(tmp_path, 3)
    assert len(pictures) == 3
    for n, pixels in zip((0, 2, 4), pictures, strict=True):
        assert np.array_equal(pixels, photo(n))


def test_frames_of_a_clip(tmp_path: Path) -> None:
    (tmp_path / "pan.mp4").write_bytes(film(6))
    first, last = read_sequence(tmp_path / "pan.mp4", 2)
    for pixels, n in ((first, 0), (last, 5)):
        assert np.corrcoef(pixels.ravel(), photo(n).ravel())[0, 1] > 0.97


def test_what_is_no_sequence_is_named(tmp_path: Path) -> None:
    with pytest.raises(BadUpload, match="holds no picture"):
        read_sequence(tmp_path, 3)
    (tmp_path / "a.mp4").write_bytes(b"no clip")
    with pytest.raises(BadUpload, match=r"a\.mp4: not a clip"):
        read_sequence(tmp_path / "a.mp4", 3)


def test_all_of_a_sequence_is_judged_at_once(tmp_path: Path) -> None:
    clip, folder = tmp_path / "pan.mp4", tmp_path / "pan"
    folder.mkdir()
    clip.write_bytes(film(6))
    for n in range(3):
        (folder / f"{n}.png").write_bytes(encode(photo(n)))
    for path in (clip, folder):
        check_sequence(path)
    clip.write_bytes(film(6)[:400])
    (folder / "1.png").write_bytes(b"no picture")
    with pytest.raises(BadUpload, match=r"pan\.mp4: "):
        check_sequence(clip)
    with pytest.raises(BadPicture, match=r"1\.png: not a picture"):
        check_sequence(folder)
