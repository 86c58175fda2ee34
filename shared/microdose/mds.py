"""The .mds file: a whole sequence in one file, playable offline and through HTTP Range requests.

    file := "MDSF" · version u8 · header length u32 LE · header JSON · blobs back to back
    header := {"manifest": {...}, "blobs": {digest: [offset, size]}}

Offsets count from the end of the header.
"""

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from pydantic import Field, model_validator

from microdose.digest import MAX_BLOB_BYTES, Digest, verify
from microdose.document import Document, canonical, parse_document
from microdose.errors import CorruptStream, NotFound, UnsupportedVersion
from microdose.manifest import MAX_MANIFEST_BYTES, Manifest, parse_manifest

MAGIC = b"MDSF"
VERSION = 1
MAX_HEADER_BYTES = 2 * MAX_MANIFEST_BYTES

_PREAMBLE = struct.Struct("<4sBI")
PREAMBLE_BYTES = _PREAMBLE.size

Span = tuple[Annotated[int, Field(ge=0, le=2**53)], Annotated[int, Field(ge=0, le=MAX_BLOB_BYTES)]]


class Header(Document):
    """The JSON header: the manifest as published, and where each blob lies."""

    manifest: dict[str, object]
    blobs: dict[Digest, Span] = Field(max_length=2**17)

    @model_validator(mode="after")
    def _check(self) -> "Header":
        end = 0
        for digest, (offset, size) in sorted(self.blobs.items(), key=lambda item: item[1]):
            if offset < end:
                raise ValueError(f"blob {digest} overlaps the one before it")
            end = offset + size
        return self


@dataclass(frozen=True)
class Contents:
    """What a file holds: its manifest, and for each blob its offset in the file and its size."""

    manifest: Manifest
    spans: dict[str, Span]

    def span(self, digest: str) -> Span:
        """Where a blob lies. Raises NotFound if it is not in the file."""
        if digest not in self.spans:
            raise NotFound(f"the .mds file holds no blob {digest}")
        return self.spans[digest]


def header_size(preamble: bytes) -> int:
    """Bytes of the JSON header, from the file's first `PREAMBLE_BYTES`; CorruptStream, UnsupportedVersion."""
    if len(preamble) < PREAMBLE_BYTES or preamble[: len(MAGIC)] != MAGIC:
        raise CorruptStream("not a .mds file: it does not begin with MDSF and a header")
    _, version, length = _PREAMBLE.unpack(preamble)
    if version != VERSION:
        raise UnsupportedVersion(f".mds of version {version}, this program reads {VERSION}: update it")
    if length > MAX_HEADER_BYTES:
        raise CorruptStream(f".mds header of {length} bytes is over the limit of {MAX_HEADER_BYTES}")
    return int(length)


def parse_header(header: bytes, file_size: int) -> Contents:
    """The contents of a file of `file_size` bytes. Raises CorruptStream, UnsupportedVersion."""
    found = parse_document(Header, header, MAX_HEADER_BYTES)
    start = PREAMBLE_BYTES + len(header)
    spans = {digest: (start + offset, size) for digest, (offset, size) in found.blobs.items()}
    if any(offset + size > file_size for offset, size in spans.values()):
        raise CorruptStream(f".mds file of {file_size} bytes is cut short: blobs lie beyond its end")
    return Contents(parse_manifest(canonical(found.manifest)), spans)


class Mds:
    """An opened file: `manifest`, and blobs by digest. Reads only the parts that are asked for."""

    def __init__(self, source: bytes | Path, size: int) -> None:
        self._source = source
        header = self._read(PREAMBLE_BYTES, header_size(self._read(0, PREAMBLE_BYTES)))
        self._contents = parse_header(header, size)
        self.manifest = self._contents.manifest

    @classmethod
    def open(cls, source: bytes | str | Path) -> "Mds":
        """The file at a path, or already in memory. Raises NotFound, CorruptStream or UnsupportedVersion."""
        if isinstance(source, bytes):
            return cls(source, len(source))
        path = Path(source)
        try:
            return cls(path, path.stat().st_size)
        except OSError as error:
            raise NotFound(f"cannot read {path}: {error.strerror}") from None

    def blob(self, digest: str) -> bytes:
        """The verified bytes of a blob. Raises NotFound (not in the file) or DigestMismatch (damaged)."""
        data = self._read(*self._contents.span(digest))
        verify(data, digest)
        return data

    def _read(self, offset: int, size: int) -> bytes:
        if isinstance(self._source, bytes):
            data = self._source[offset : offset + size]
        else:
            with self._source.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        if len(data) != size:
            raise CorruptStream(f".mds file is cut short: it ends within {size} bytes at {offset}")
        return data


def write_mds(manifest: Manifest, blobs: Mapping[str, bytes]) -> bytes:
    """The file of a sequence. `blobs`: the base's graphs and all that the manifest names, by digest.

    Raises NotFound for a missing blob that the manifest names, DigestMismatch for one under a wrong name.
    """
    for descriptor in manifest.descriptors():
        if descriptor.digest not in blobs:
            raise NotFound(f"blob {descriptor.digest} ({descriptor.media_type}) is needed for a .mds file")
    spans: dict[str, Span] = {}
    end = 0
    for digest, data in blobs.items():
        verify(data, digest)
        spans[digest] = (end, len(data))
        end += len(data)
    header = Header(manifest=manifest.model_dump(mode="json"), blobs=spans).to_bytes()
    return _PREAMBLE.pack(MAGIC, VERSION, len(header)) + header + b"".join(blobs.values())
