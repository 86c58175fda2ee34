"""Files on disk: harmless names, whole contents."""

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from microdose.errors import Unavailable
from microdose_client.files import PngNames, stem_of, write_atomic, write_png


def png_names(names: Iterable[str | None]) -> list[str]:
    given = PngNames()
    return [given.of(n, name) for n, name in enumerate(names)]


@pytest.mark.parametrize(
    ("name", "stem"),
    [
        ("kodim01.png", "kodim01"),
        ("Ferien am Meer (2).JPG", "Ferien am Meer (2)"),
        ("Straße 北京.webp", "Straße 北京"),
        ("a.tar.gz", "a.tar"),
        ("no extension", "no extension"),
        ("../../etc/passwd", "passwd"),
        ("C:\\Windows\\win.ini", "win"),
        (".bashrc", "bashrc"),
        ("..", "000007"),
        ("/", "000007"),
        ("con.png", "000007"),
        ("nul\x00l.png", "nul_l"),
        ("a\nb\x1b[31m.png", "a_b_31m"),
        ("-rf.png", "-rf"),
        ("", "000007"),
        (None, "000007"),
    ],
)
def test_stem_of(name: str | None, stem: str) -> None:
    assert stem_of(name, 7) == stem


@given(st.lists(st.one_of(st.none(), st.text(max_size=200)), max_size=30))
def test_any_names_give_distinct_files_directly_inside(names: list[str | None]) -> None:
    files = png_names(names)
    assert len({file.casefold() for file in files}) == len(names)
    for file in files:
        assert Path(file).name == file
        assert not file.startswith(".")
        assert file.isprintable()
        assert len(file.encode()) <= 255


def test_names_that_differ_in_case_only_stay_apart() -> None:
    assert png_names(["A.png", "a.jpg", "a-1.png"]) == ["A.png", "a-1.png", "a-1-2.png"]


def test_write_atomic_replaces_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file"
    for data in (b"old", b"new"):
        write_atomic(path, data)
        assert path.read_bytes() == data
    assert [file.name for file in path.parent.iterdir()] == ["file"]


def test_a_failed_write_keeps_the_old_file(tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    with pytest.raises(Unavailable, match="taken"):
        write_atomic(tmp_path / "taken", b"new")
    assert [file.name for file in tmp_path.iterdir()] == ["taken"]


@pytest.mark.parametrize("place", ["", ".", "/"])
def test_a_place_without_a_name_cannot_be_written(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Unavailable, match="cannot write"):
        write_atomic(Path(place), b"new")
    assert list(tmp_path.iterdir()) == []


def test_png_holds_the_very_pixels(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (7, 5, 3), dtype=np.uint8)
    write_png(tmp_path / "x.png", pixels)
    with Image.open(tmp_path / "x.png") as image:
        assert image.format == "PNG"
        np.testing.assert_array_equal(np.asarray(image), pixels)
