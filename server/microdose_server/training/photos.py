"""The photographs of a run: a folder of them, plain tar shards of them, or both; held in memory.

    folder/*.jpg ...          --+
    folder/*.tar -- members     +--> (name, bytes) --threads: intake--> uint8 [H, W, 3]
    shard.tar    -- members   --+

Training sees what coding sees: every picture goes through the server's intake, which makes it upright
eight-bit sRGB, or refuses it. A shard is read member by member; nothing is unpacked to disk.
"""

import logging
import tarfile
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
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
NAMED = 10
"""A message tells so many of what it is about, and how many more there are."""

log = logging.getLogger(__name__)


class _File(NamedTuple):
    """A picture's name, as messages tell it, and its bytes."""

    name: str
    data: bytes


class _Photo(NamedTuple):
    """What intake made of a file: `pixels` [H, W, 3]; where it refuses one, the reason."""

    name: str
    pixels: Pixels | None
    refusal: str = ""


def load_photos(source: Path, least_side: int) -> list[Pixels]:
    """Every picture as [H, W, 3]: those of a folder by name, those of a shard in its order. Files without the
    suffix of a picture are passed over, and, with a warning, pictures with a side shorter than `least_side`.

    Raises:
        NotFound: there is no such folder or file.
        BadUpload: it holds no picture, or none that is large enough, or a shard is damaged.
        BadPicture: intake refuses some.
    """
    if not source.exists():
        raise NotFound(f"there is no {source}; give a folder of pictures, or a plain {SHARD} file of them")
    with ThreadPoolExecutor(THREADS) as pool:
        photos = list(_decoded(pool, source))
    if not photos:
        kinds = ", ".join(sorted(PICTURE_SUFFIXES))
        raise BadUpload(
            f"{source} holds no picture; give a folder of {kinds} files, or plain {SHARD} files of them"
        )
    if refused := [f"{photo.name}: {photo.refusal}" for photo in photos if photo.refusal]:
        raise BadPicture(f"repair or take out what is refused: {_listed(refused)}")
    return _large_enough(photos, least_side, source)


def _decoded(pool: ThreadPoolExecutor, source: Path) -> Iterator[_Photo]:
    """In order. A pool's own map would read all files before the first is decoded."""
    waiting = deque[Future[_Photo]]()
    for file in _files(source):
        waiting.append(pool.submit(_decode, file))
        if len(waiting) > 2 * THREADS:
            yield waiting.popleft().result()
    yield from (each.result() for each in waiting)


def _large_enough(photos: Sequence[_Photo], least_side: int, source: Path) -> list[Pixels]:
    large, small = [], []
    for name, pixels, _ in photos:
        assert pixels is not None
        height, width, _ = pixels.shape
        if min(height, width) < least_side:
            small.append(f"{name} is {width}x{height}")
        else:
            large.append(pixels)
    told = f"{len(small)} of {len(photos)} pictures have a side below {least_side} pixels: {_listed(small)}"
    if not large:
        raise BadUpload(f"{source}: {told}; give larger ones, or smaller crops")
    if small:
        log.warning("passing over what training cannot use: %s", told)
    return large


def _listed(items: Sequence[str]) -> str:
    more = f"; and {len(items) - NAMED} more" if len(items) > NAMED else ""
    return "; ".join(items[:NAMED]) + more


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


def _decode(file: _File) -> _Photo:
    try:
        return _Photo(file.name, read_picture(file.data, LIMITS).pixels)
    except BadPicture as error:
        return _Photo(file.name, None, str(error))
