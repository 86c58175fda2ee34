"""A sequence to measure: a folder's pictures or a clip's frames, read as the server reads uploads."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from microdose.errors import BadUpload
from microdose_server.evaluate.pictures import check_pictures, picture_files, read_pixels
from microdose_server.intake.clip import read_clip
from microdose_server.training.data import Pixels


def read_sequence(path: Path, count: int) -> list[Pixels]:
    """At most `count` pictures, evenly spread over the whole.

    Raises BadUpload where there are none and BadPicture for one that is refused, by name.
    """
    if path.is_file():
        wanted = set(spread(sum(1 for _ in _frames(path)), count))
        return [pixels for n, pixels in enumerate(_frames(path)) if n in wanted]
    files = picture_files(path)
    return [read_pixels(files[n]) for n in spread(len(files), count)]


def check_sequence(path: Path) -> None:
    """Judge every frame of a clip, and a folder's pictures by their headers. Raises as `read_sequence`."""
    if path.is_file():
        for _ in _frames(path):
            pass
    else:
        check_pictures(picture_files(path))


def _frames(path: Path) -> Iterator[Pixels]:
    try:
        with path.open("rb") as clip:
            for picture in read_clip(clip):
                yield picture.pixels
    except BadUpload as error:
        raise BadUpload(f"{path}: {error}") from None


def spread(length: int, count: int) -> list[int]:
    """`count` numbers out of 0 .. length - 1, evenly; all of them if there are no more."""
    return sorted({int(n) for n in np.linspace(0, length - 1, min(length, count))})
