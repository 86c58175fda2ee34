"""The photographs of a run: a folder of them, plain tar shards of them, or both; held in memory.

    folder/*.jpg ...          --+
    folder/*.tar -- members     +--> (name, bytes) --threads: intake--> uint8 [H, W, 3]
    shard.tar    -- members   --+

Training sees what coding sees: every picture goes through the server's intake, which makes it upright
eight-bit sRGB, or refuses it. A shard is read member by member; nothing is unpacked to disk.
"""

import tarfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from typing import NamedTuple

from microdose.errors import BadPicture, BadUpload, NotFound
from microdose_server.intake.kind import PICTURE_SUFFIXES
from microdose_server.intake.picture import read_picture
from microdose_server.settings import Limits
from microdose_server.training.data import Pixels

SHARD = ".tar"
THREADS = 4
LIMITS = Limits()


class _File(NamedTuple):
    """A picture's name, as messages tell it, and its bytes."""

    name: str
    data: bytes


def load_photos(source: Path, least_side: int) -> list[Pixels]:
    """Every picture as [H, W, 3]: those of a folder by name, those of a shard in its order. Files without the
    suffix of a picture are passed over.

    Raises:
        NotFound: there is no such folder or file.
        BadUpload: it holds no picture, one has a side shorter than `least_side`, or a shard is damaged.
        BadPicture: intake refuses one.
    """
    if not source.exists():
        raise NotFound(f"there is no {source}; give a folder of pictures, or a plain {SHARD} file of them")
    with ThreadPoolExecutor(THREADS) as pool:
        photos = list(pool.map(partial(_decode, least_side=least_side), _files(source)))
    if not photos:
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise BadUpload(
            f"{source} holds no picture; give a folder of {kinds} files, or plain {SHARD} files of them"
        )
    return photos


def _files(source: Path) -> Iterator[_File]:
    entries = sorted(source.iterdir()) if source.is_dir() else [source]
    for path in entries:
        if path.suffix.lower() == SHARD and path.is_file():
            yield from _members(path)
        elif path.suffix.lower() in PICTURE_SUFFIXES and path.is_file():
            yield _File(str(path), path.read_bytes())


def _members(shard: Path) -> Iterator[_File]:
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                # Nothing is extracted; the filter refuses what has no place in a shard of pictures.
                member = tarfile.data_filter(member, ".")
                if member.isfile() and Path(member.name).suffix.lower() in PICTURE_SUFFIXES:
                    name = f"{shard}:{member.name}"
                    yield _File(name, _content(archive, member, name))
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadUpload(f"{shard} is not a plain tar file of pictures ({error}); pack it anew") from None


def _content(archive: tarfile.TarFile, member: tarfile.TarInfo, name: str) -> bytes:
    if member.size > LIMITS.max_picture_bytes:
        raise BadUpload(f"{name} has {member.size} bytes: the limit is {LIMITS.max_picture_bytes}")
    file = archive.extractfile(member)
    data = file.read() if file is not None else b""
    if len(data) != member.size:
        raise tarfile.ReadError(f"{member.name} is cut off")
    return data


def _decode(file: _File, least_side: int) -> Pixels:
    try:
        picture = read_picture(file.data, LIMITS)
    except BadPicture as error:
        raise BadPicture(f"{file.name}: {error}; repair it or take it out") from None
    if min(picture.width, picture.height) < least_side:
        raise BadUpload(
            f"{file.name} is {picture.width}x{picture.height}; training needs {least_side} pixels a side"
        )
    return picture.pixels
