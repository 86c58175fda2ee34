"""What the client writes to disk: whole files or nothing, under names that no stream can bend.

A picture's name comes from a stranger's manifest. It is only ever used as the stem of a file directly inside
the directory that the user chose: no folders, no hidden files, no control characters, no name twice.
"""

import contextlib
import io
import re
import secrets
from collections.abc import Iterable
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from microdose.errors import Unavailable
from microdose.manifest import SegmentEntry

MAX_STEM = 100  # bytes; file systems stop at 255
_UNFIT = re.compile(r"[^\w .,()+=@-]+")
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com\d|lpt\d)(\..*)?")  # device names on Windows


def write_atomic(path: Path, data: bytes) -> None:
    """Write `data` so that `path` holds either its old content or all of the new; makes folders as needed.

    Raises Unavailable: no permission, no space, a file where a folder should be.
    """
    temporary = path.parent / f".{secrets.token_hex(8)}.part"
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


def png_names(segments: Iterable[SegmentEntry]) -> dict[int, str]:
    """A PNG file name for every picture number, all different even where upper and lower case are one."""
    names: dict[int, str] = {}
    taken: set[str] = set()
    for segment in segments:
        stem = stem_of(segment.name, segment.n)
        while stem.casefold() in taken:
            stem = f"{stem}-{segment.n}"
        taken.add(stem.casefold())
        names[segment.n] = f"{stem}.png"
    return names
