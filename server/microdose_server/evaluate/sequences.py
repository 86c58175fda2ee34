"""A sequence to measure: a folder's pictures or a clip's frames, read as the server reads uploads."""

from pathlib import Path

import numpy as np

from microdose_server.evaluate.metrics import Pixels
from microdose_server.evaluate.pictures import picture_files, read_pictures
from microdose_server.intake.clip import read_clip


def read_sequence(path: Path, count: int) -> list[Pixels]:
    """At most `count` pictures, evenly spread over the whole. Raises BadUpload where there are none."""
    if path.is_file():
        with path.open("rb") as clip:
            wanted = set(spread(sum(1 for _ in read_clip(clip)), count))
        with path.open("rb") as clip:
            return [picture.pixels for n, picture in enumerate(read_clip(clip)) if n in wanted]
    files = picture_files(path)
    chosen = [files[n] for n in spread(len(files), count)]
    return [pixels for _, pixels in read_pictures(chosen)]


def spread(length: int, count: int) -> list[int]:
    """`count` numbers out of 0 .. length - 1, evenly; all of them if there are no more."""
    return sorted({int(n) for n in np.linspace(0, length - 1, min(length, count))})
