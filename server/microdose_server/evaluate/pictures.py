"""The pictures of a folder, read as the server reads uploads."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from microdose.errors import BadPicture, BadUpload
from microdose_server.intake.kind import PICTURE_SUFFIXES
from microdose_server.intake.picture import MIN_SIDE, picture_size, read_picture
from microdose_server.training.data import Pixels


def picture_files(folder: Path, limit: int | None = None) -> list[Path]:
    """The first `limit` picture files by name, or all. Raises BadUpload if there is none."""
    inside = folder.iterdir() if folder.is_dir() else ()
    files = sorted(path for path in inside if path.suffix.lower() in PICTURE_SUFFIXES)[:limit]
    if not files:
        raise BadUpload(
            f"{folder} holds no picture: give a folder of {', '.join(sorted(PICTURE_SUFFIXES))} files"
        )
    return files


def check_pictures(files: Sequence[Path], least_side: int = MIN_SIDE) -> None:
    """Judge files by their headers, so that nothing is measured in vain.

    Raises BadPicture, by name, for one that intake refuses or that has fewer than `least_side` pixels a side.
    """
    for file in files:
        with _named(file), file.open("rb") as header:
            height, width = picture_size(header)
            if min(height, width) < least_side:
                raise BadPicture(
                    f"{width}x{height} is too small here: each side needs at least {least_side} pixels; "
                    "take it out, or give a larger one"
                )


def read_pictures(files: Sequence[Path]) -> Iterator[tuple[str, Pixels]]:
    """(name, uint8 [H, W, 3]) of each file, read when it is asked for. Raises as `read_pixels`."""
    for file in files:
        yield file.name, read_pixels(file)


def read_pixels(file: Path) -> Pixels:
    """A picture, uint8 [H, W, 3]. Raises BadPicture, by name, if intake refuses it or it cannot be read."""
    with _named(file):
        return read_picture(file.read_bytes()).pixels


@contextmanager
def _named(file: Path) -> Iterator[None]:
    try:
        yield
    except BadPicture as error:
        raise BadPicture(f"{file}: {error}") from None
    except OSError as error:
        raise BadPicture(f"{file} cannot be read: {error.strerror}") from None
