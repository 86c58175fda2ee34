"""The pictures of a folder, read as the server reads uploads."""

from collections.abc import Iterator
from pathlib import Path

from microdose.errors import BadUpload
from microdose_server.evaluate.metrics import Pixels
from microdose_server.intake.kind import PICTURE_SUFFIXES
from microdose_server.intake.picture import read_picture


def picture_files(folder: Path, limit: int | None = None) -> list[Path]:
    """The first `limit` picture files by name, or all. Raises BadUpload if there is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    files = sorted(path for path in inside if path.suffix.lower() in PICTURE_SUFFIXES)[:limit]
    if not files:
        raise BadUpload(
            f"{folder} holds no picture: give a folder of {', '.join(sorted(PICTURE_SUFFIXES))} files"
        )
    return files


def read_pictures(files: list[Path]) -> Iterator[tuple[str, Pixels]]:
    """(name, uint8 [H, W, 3]) of each file, read when it is asked for."""
    for file in files:
        yield file.name, read_picture(file.read_bytes()).pixels
