"""A zip of pictures, read as hostile: every byte is counted while it is inflated, nothing is extracted.

Names only sort the pictures and label them; they never become a path.
"""

import os
import re
import unicodedata
import zipfile
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import IO, BinaryIO, Final

from microdose.errors import BadUpload
from microdose.natural import natural_key
from microdose_server.intake.kind import is_zip
from microdose_server.intake.picture import DEFAULT_LIMITS
from microdose_server.settings import Limits

_CHUNK: Final = 256 << 10
_METHODS: Final = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
MAX_NAME: Final = 200


@dataclass(frozen=True)
class Member:
    """One file of an archive: its display name and its bytes."""

    name: str
    data: bytes


class _Bounded:
    """A seekable file that refuses greedy reads, so that lengths an archive claims cost no memory."""

    def __init__(self, source: BinaryIO, most: int) -> None:
        """`most` bytes may be asked for at a time."""
        self._most = most
        self.seek, self.tell, self._read = source.seek, source.tell, source.read
        self._end = source.seek(0, os.SEEK_END)

    def seekable(self) -> bool:
        return True

    def read(self, size: int = -1) -> bytes:
        size = self._end - self.tell() if size < 0 else size
        if size > self._most:
            raise BadUpload("damaged zip archive, or one with a directory too large to be of pictures")
        return self._read(size)


def read_zip(source: BinaryIO, limits: Limits = DEFAULT_LIMITS) -> Iterator[Member]:
    """The pictures of an archive in natural order of their names (2 before 10), one in memory at a time.

    Directories and the litter of file managers (`__MACOSX/`, dot files) are passed over. Raises BadUpload
    for a damaged, encrypted, nested or empty archive, a bomb, or too many or too large members.
    """
    total = 0
    try:
        with zipfile.ZipFile(_Bounded(source, limits.max_zip_read)) as archive:
            for info in _members(archive, limits):
                data = _inflate(archive, info, limits)
                total += len(data)
                if total > limits.max_upload_bytes:
                    raise BadUpload(f"the archive inflates to more than {limits.max_upload_bytes} bytes")
                yield Member(display_name(info.filename), data)
    except (zipfile.BadZipFile, NotImplementedError, EOFError, OSError, ValueError, RuntimeError) as error:
        raise BadUpload(f"damaged zip archive: {error}") from error


def display_name(name: str) -> str:
    """A name fit to show: its last component, NFC, printable, at most MAX_NAME characters."""
    last = re.split(r"[/\\]", unicodedata.normalize("NFC", name))[-1]
    return "".join(c for c in last if c.isprintable())[:MAX_NAME]


def _members(archive: zipfile.ZipFile, limits: Limits) -> list[zipfile.ZipInfo]:
    infos = [info for info in archive.infolist() if not info.is_dir() and not _is_litter(info.filename)]
    if not infos:
        raise BadUpload("the archive holds no pictures")
    if len(infos) > limits.max_frames:
        raise BadUpload(f"the archive holds {len(infos)} files: the limit is {limits.max_frames}")
    for info in infos:
        name = display_name(info.filename)
        if info.flag_bits & 1:
            raise BadUpload(f"{name!r} is encrypted: send the archive without a password")
        if info.compress_type not in _METHODS:
            raise BadUpload(f"{name!r} is not stored or deflated: pack it as a plain zip")
    return sorted(infos, key=lambda info: (natural_key(info.filename), info.filename))


def _is_litter(name: str) -> bool:
    parts = re.split(r"[/\\]", name)
    return "__MACOSX" in parts[:-1] or parts[-1].startswith(".") or parts[-1] in ("Thumbs.db", "desktop.ini")


def _inflate(archive: zipfile.ZipFile, info: zipfile.ZipInfo, limits: Limits) -> bytes:
    name = display_name(info.filename)
    allowed = min(limits.max_picture_bytes, limits.max_zip_ratio * info.compress_size + _CHUNK)
    data = bytearray()
    with archive.open(info) as member:
        while chunk := _next(member):
            data += chunk
            if len(data) > allowed:
                raise BadUpload(f"{name!r} inflates to more than {allowed} bytes: too large, or a zip bomb")
    if is_zip(bytes(data[:4])):
        raise BadUpload(f"{name!r} is an archive inside the archive: send its pictures directly")
    return bytes(data)


def _next(member: IO[bytes]) -> bytes:
    try:
        return member.read(_CHUNK)
    except zlib.error as error:
        raise BadUpload(f"damaged zip archive: {error}") from error
