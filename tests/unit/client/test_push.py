"""Which files a push takes, in which order."""

from pathlib import Path

import pytest

from microdose.errors import BadUpload
from microdose_client.push import collect


def touch(folder: Path, *names: str) -> list[Path]:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"x")
    return [folder / name for name in names]


def test_a_folder_gives_its_pictures_in_natural_order(tmp_path: Path) -> None:
    touch(tmp_path, "f10.png", "f2.PNG", "f1.jpg", ".hidden.png", "notes.txt", "x.mp4")
    (tmp_path / "sub").mkdir()
    assert [path.name for path in collect([tmp_path])] == ["f1.jpg", "f2.PNG", "f10.png"]


def test_files_keep_the_order_given_whatever_their_extension(tmp_path: Path) -> None:
    files = touch(tmp_path, "b.png", "a.data")
    assert collect(files) == tuple(files)


def test_folders_and_files_mix(tmp_path: Path) -> None:
    (single,) = touch(tmp_path / "one", "z.png")
    touch(tmp_path / "two", "b.png", "a.png")
    assert [path.name for path in collect([single, tmp_path / "two"])] == ["z.png", "a.png", "b.png"]


def test_a_clip_comes_alone(tmp_path: Path) -> None:
    clip, picture = touch(tmp_path, "a.mp4", "b.png")
    assert collect([clip]) == (clip,)
    with pytest.raises(BadUpload, match=r"a\.mp4 must be pushed alone"):
        collect([picture, clip])


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadUpload, match="does not exist"):
        collect([tmp_path / "nowhere"])
    with pytest.raises(BadUpload, match="no pictures directly in it"):
        collect([tmp_path])
    with pytest.raises(BadUpload, match="nothing to push"):
        collect([])
