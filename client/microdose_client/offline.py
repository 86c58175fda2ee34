""".mds files: a sequence with all it needs in one file, for playing without a server.

export:  Reader ─► manifest, base, doses, segments ─► FILE.mds
decode:  FILE.mds ─► MdsSource ─► the same Reader and decoder as for a server
"""

from collections.abc import Iterator
from pathlib import Path

from microdose.base import Descriptor
from microdose.errors import CorruptStream, NotFound
from microdose.manifest import SEGMENT_TYPE, Manifest
from microdose.mds import Mds, write_mds
from microdose_client.files import write_atomic
from microdose_client.play import DecodedPicture, play
from microdose_client.progress import Report, Step, silent
from microdose_client.pull import pull
from microdose_client.reader import Reader
from microdose_client.results import Info, Pulled, info_of

MAX_EXPORT_BYTES = 2 * 2**30


class MdsSource:
    """An open .mds file as a Source."""

    def __init__(self, mds: Mds, name: str) -> None:
        """`name` is what to call the file in messages."""
        self._mds, self.name = mds, name

    def manifest(self, sequence: str) -> bytes:
        """The manifest of the file's one sequence, as JSON."""
        if sequence != self._mds.manifest.sequence:
            raise NotFound(f"{self.name} holds sequence {self._mds.manifest.sequence}, not {sequence}")
        return self._mds.manifest.to_bytes()

    def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of one of the file's blobs."""
        return self._mds.blob(descriptor.digest)

    def close(self) -> None:
        """The file is only open while it is read."""


def open_file(path: Path) -> tuple[Reader, Manifest]:
    """A reader of the file, and its manifest. Raises NotFound, CorruptStream, UnsupportedVersion."""
    mds = Mds.open(path)
    return Reader([MdsSource(mds, str(path))]), mds.manifest


def file_info(path: str | Path) -> Info:
    """An .mds file at a glance. Raises as `decode_file` does."""
    _, manifest = open_file(Path(path))
    return info_of(manifest)


def file_pictures(path: str | Path, *, threads: int = 0) -> Iterator[DecodedPicture]:
    """The pictures of an .mds file in order, decoded as they are asked for. Raises as `decode_file` does."""
    reader, manifest = open_file(Path(path))
    return play(reader, manifest, threads)


def decode_file(
    path: str | Path, directory: str | Path, *, progress: Report = silent, threads: int = 0
) -> Pulled:
    """Write every picture of an .mds file as PNG into `directory`.

    Raises NotFound (no such file, a blob missing in it), CorruptStream, DigestMismatch, UnsupportedVersion,
    UnknownBase, DoseMismatch, NotReproducible, Unavailable (the directory cannot be written).
    """
    reader, manifest = open_file(Path(path))
    return pull(reader, manifest, Path(directory), progress, threads)


def export(reader: Reader, manifest: Manifest, path: Path, report: Report = silent) -> int:
    """Write the sequence with every blob it needs into one .mds file; returns the file's size in bytes.

    It is put together in memory: CorruptStream is raised for a manifest that names over `MAX_EXPORT_BYTES`.
    """
    total = sum(descriptor.size for descriptor in manifest.descriptors())
    if total > MAX_EXPORT_BYTES:
        raise CorruptStream(
            f"sequence {manifest.sequence} has {total} bytes; the limit is {MAX_EXPORT_BYTES}"
        )
    base = reader.base(manifest.base)
    needed = [base.document.student, base.document.hyper, *manifest.descriptors()]
    unique = {descriptor.digest: descriptor for descriptor in needed}
    blobs: dict[str, bytes] = {}
    for digest, descriptor in unique.items():
        fetch = reader.blob if descriptor.media_type == SEGMENT_TYPE else reader.kept
        blobs[digest] = fetch(descriptor)
        report(Step("fetching", len(blobs), len(unique)))
    data = write_mds(manifest, blobs)
    write_atomic(path, data)
    return len(data)
