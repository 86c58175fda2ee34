"""What a live push sends: y4m, clips through ffmpeg, folders; and what is no footage at all."""

import io
import os
import sys
from pathlib import Path

import numpy as np
import pytest

from microdose.errors import BadUpload
from microdose_client.footage import PIPE, pictures_from
from microdose_client.frames import Form, Frames
from tests.photos import encode, film, photo

FFMPEG = f"""#!{sys.executable}
import sys
sys.path[:0] = {sys.path}
from tests.ffmpeg import main
main(sys.argv[1:])
"""


@pytest.fixture
def ffmpeg(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A program of that name which takes the arguments that we give it; the libraries are FFmpeg's own."""
    program = tmp_path / "bin" / "ffmpeg"
    program.parent.mkdir()
    program.write_text(FFMPEG)
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def y4m(count: int) -> bytes:
    stream = io.BytesIO()
    frames = Frames(stream, Form.Y4M)
    for n in range(count):
        frames.write(photo(n))
    return stream.getvalue()


def pixels_of(source: Path, pipe: bytes = b"") -> list[np.ndarray]:  # type: ignore[type-arg]
    return [np.asarray(picture, np.int16) for picture in pictures_from(source, io.BytesIO(pipe))]


def test_y4m_from_a_pipe_or_a_file(tmp_path: Path) -> None:
    (tmp_path / "a.y4m").write_bytes(y4m(3))
    for found in (pixels_of(PIPE, y4m(3)), pixels_of(tmp_path / "a.y4m")):
        assert len(found) == 3
        assert max(np.abs(one - photo(n)).max() for n, one in enumerate(found)) <= 2


@pytest.mark.usefixtures("ffmpeg")
def test_a_clip_is_decoded_by_ffmpeg(tmp_path: Path) -> None:
    (tmp_path / "-a b.mp4").write_bytes(film(4))
    found = pixels_of(tmp_path / "-a b.mp4")
    assert len(found) == 4
    assert max(np.abs(one - photo(n)).mean() for n, one in enumerate(found)) < 6


@pytest.mark.usefixtures("ffmpeg")
def test_what_ffmpeg_says_of_a_clip_is_told(tmp_path: Path) -> None:
    (tmp_path / "a.mp4").write_bytes(b"no clip at all")
    with pytest.raises(BadUpload, match=r"a\.mp4: .*Invalid data"):
        pixels_of(tmp_path / "a.mp4")


def test_without_ffmpeg_there_are_no_clips(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "a.mp4").write_bytes(film(1))
    with pytest.raises(BadUpload, match="ffmpeg, which is not installed"):
        pixels_of(tmp_path / "a.mp4")


def test_a_folder_is_watched_from_a_name_on(tmp_path: Path) -> None:
    for n in range(3):
        (tmp_path / f"{n}.png").write_bytes(encode(photo(n)))
    pictures = pictures_from(tmp_path, io.BytesIO(), "0.png")
    assert [next(pictures), next(pictures)] == [tmp_path / "1.png", tmp_path / "2.png"]
    pictures.close()


@pytest.mark.parametrize("name", ["nowhere", "nowhere.y4m"])
def test_what_is_not_there_is_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(BadUpload, match=name):
        pixels_of(tmp_path / name)
