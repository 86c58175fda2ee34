"""What the client writes to disk: whole files or nothing, under names that no stream can bend.

A picture's name comes from a stranger's manifest. It is only ever used as the stem of a file directly inside
the directory that the user chose: no folders, no hidden files, no control characters, no name twice.
"""

import contextlib
import io
import re
import secrets
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microdose.errors import Unavailable

PART = ".part"
"""The end of a name under which a file is still being written."""
MAX_STEM = 100  # bytes; file systems stop at 255
_UNFIT = re.compile(r"[^\w .,()+=@-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # device names on Windows


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new; makes folders as needed.

    Raises Unavailable: no permission, no space, a file where a folder should be.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}{PART}"
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(data)
        temporary.replace(path)
    except OSError as error:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise Unavailable(f"cannot write {path}: {error.strerror or error}") from error


def write_png(path: Path, pixels: NDArray[np.uint8]) -> None:
    """Write `pixels` uint8[H,W,3] (sRGB) as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    write_atomic(path, buffer.getvalue())


def stem_of(name: str | None, n: int) -> str:
    """The file stem for picture `n` shown as `name`: the last part of the path, harmless, no extension."""
    last = re.split(r"[/\\]", name or "")[-1]
    stem = _UNFIT.sub("_", last.rpartition(".")[0] or last).strip(" .")
    stem = stem.encode()[:MAX_STEM].decode(errors="ignore").strip(" .")
    if not stem or _RESERVED.fullmatch(stem):
        return f"{n:06d}"
    return stem


class PngNames:
    """A PNG file name for every picture, all different even where upper and lower case are one."""

    def __init__(self) -> None:
        self._taken: set[str] = set()

    def of(self, n: int, name: str | None) -> str:
        """The name for picture `n`, shown as `name`; ask once for each, in the order of the sequence."""
        stem = stem_of(name, n)
        while stem.casefold() in self._taken:
            stem = f"{stem}-{n}"
        self._taken.add(stem.casefold())
        return f"{stem}.png"
