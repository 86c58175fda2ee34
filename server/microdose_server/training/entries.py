"""Where the pictures of a run lie: files of a folder and those below it, members of plain tar shards.

    folder/**/*.jpg ...          --+
    folder/**/*.tar -- members   --+--> (name, path, offset, size)
    shard.tar       -- members   --+

A member is bytes of its shard from an offset on: nothing is unpacked, and any of them can be read by itself.
"""

import io
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, NamedTuple

from microdose.errors import BadUpload
from microdose_server.intake.kind import PICTURE_SUFFIXES

if TYPE_CHECKING:
    from _typeshed import WriteableBuffer

SHARD = ".tar"


class Entry(NamedTuple):
    """A picture's file: `size` bytes of `path` from `offset` on. `name` is what messages call it."""

    name: str
    path: Path
    offset: int
    size: int

    def open(self) -> BinaryIO:
        """The file alone, to be read and closed. Raises OSError where it is gone."""
        return io.BufferedReader(_Part(self))


def find_entries(source: Path) -> Iterator[Entry]:
    """The pictures of a shard in its order, or those of a folder and all below it by path, shards among them.

    Files without the suffix of a picture are passed over, and so are links to folders. Raises BadUpload for a
    shard that is damaged.
    """
    for path in sorted(source.rglob("*")) if source.is_dir() else [source]:
        suffix = path.suffix.lower()
        if suffix == SHARD and path.is_file():
            yield from _members(path)
        elif suffix in PICTURE_SUFFIXES and path.is_file():
            yield Entry(str(path), path, 0, path.stat().st_size)


def _members(shard: Path) -> Iterator[Entry]:
    try:
        with tarfile.open(shard, "r:") as archive:
            for member in archive:
                # Nothing is extracted; the filter refuses what has no place in a shard of pictures.
                member = tarfile.data_filter(member, ".")
                if member.isfile() and Path(member.name).suffix.lower() in PICTURE_SUFFIXES:
                    if member.issparse():
                        raise tarfile.ReadError(f"{member.name} is stored with holes")
                    yield Entry(f"{shard}:{member.name}", shard, member.offset_data, member.size)
    except (tarfile.TarError, OSError, EOFError) as error:
        raise BadUpload(f"{shard} is not a plain tar file of pictures ({error}); pack it anew") from None


class _Part(io.RawIOBase):
    """The bytes of an entry as a file of their own."""

    def __init__(self, entry: Entry) -> None:
        self._file = entry.path.open("rb", buffering=0)
        self._begin, self._size, self._at = entry.offset, entry.size, 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET, /) -> int:
        self._at = offset + (0, self._at, self._size)[whence]
        return self._at

    def readinto(self, buffer: "WriteableBuffer", /) -> int | None:
        self._file.seek(self._begin + self._at)
        count = self._file.readinto(memoryview(buffer)[: max(0, self._size - self._at)])
        self._at += count or 0
        return count

    def close(self) -> None:
        self._file.close()
        super().close()
