""".mds files: a sequence with all it needs in one file, for playing without a server.

export:  Reader ─► manifest, base, doses, segments ─► FILE.mds
decode:  FILE.mds, on disk or at a URL ─► MdsSource ─► the same Reader and decoder as for a server
"""

from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path

from microdose.base import Descriptor
from microdose.errors import CorruptStream, NotFound
from microdose.manifest import SEGMENT_TYPE, Manifest
from microdose.mds import PREAMBLE_BYTES, Contents, header_size, parse_header, write_mds
from microdose_client import remote
from microdose_client.crew import Crew
from microdose_client.files import write_atomic
from microdose_client.play import DecodedPicture, Player, snapshot
from microdose_client.progress import Report, Step, silent
from microdose_client.pull import pull
from microdose_client.reader import Reader
from microdose_client.results import Info, Pulled, info_of
from microdose_client.source import Heard
from microdose_client.threads import Loop, in_thread

MAX_EXPORT_BYTES = 2 * 2**30


class MdsSource:
    """An open .mds file as a Source."""

    def __init__(self, file: remote.File, contents: Contents) -> None:
        """Use `open`."""
        self._file, self._contents, self.name = file, contents, file.name

    @classmethod
    async def open(cls, file: remote.File) -> "MdsSource":
        """Read what the file holds. Raises CorruptStream, UnsupportedVersion, and as the file does."""
        size = header_size(await file.read(0, PREAMBLE_BYTES))
        header = await file.read(PREAMBLE_BYTES, size)
        if len(header) != size:
            raise CorruptStream(f"{file.name} is cut short: it ends within its header")
        return cls(file, await in_thread(parse_header, header, file.size))

    @property
    def held(self) -> Manifest:
        """The manifest of the file's one sequence."""
        return self._contents.manifest

    async def manifest(self, sequence: str) -> bytes:
        """The same, as JSON."""
        if sequence != self.held.sequence:
            raise NotFound(f"{self.name} holds sequence {self.held.sequence}, not {sequence}")
        return self.held.to_bytes()

    async def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of one of the file's blobs, not checked yet."""
        return await self._file.read(*self._contents.span(descriptor.digest))

    async def events(self, sequence: str, after: str) -> AsyncGenerator[Heard | None]:
        """A file says nothing new."""
        nothing: tuple[Heard, ...] = ()
        for heard in nothing:
            yield heard

    async def close(self) -> None:
        """Close the file."""
        await self._file.close()


@asynccontextmanager
async def _opened(place: str | Path) -> AsyncGenerator[MdsSource]:
    file = await remote.open_file(place)
    try:
        yield await MdsSource.open(file)
    finally:
        await file.close()


async def _info(place: str | Path) -> Info:
    async with _opened(place) as source:
        return info_of(source.held)


async def _pictures(place: str | Path, threads: int) -> AsyncGenerator[DecodedPicture]:
    async with _opened(place) as source:
        reader, manifest = Reader([source]), source.held
        player = Player(reader, Crew(), await reader.base(manifest.base), threads)
        async with aclosing(player.play(snapshot(manifest))) as pictures:
            async for picture in pictures:
                yield picture


async def _decode(place: str | Path, directory: Path, report: Report, threads: int) -> Pulled:
    info = await _info(place)
    return await pull(_pictures(place, threads), info, directory, report, info.pictures)


def file_info(path: str | Path) -> Info:
    """An .mds file at a glance. Raises as `decode_file` does."""
    with Loop() as loop:
        return loop.run(_info, path)


def file_pictures(path: str | Path, *, threads: int = 0) -> Iterator[DecodedPicture]:
    """The pictures of an .mds file in order, decoded as they are asked for. Raises as `decode_file` does."""
    with Loop() as loop:
        yield from loop.iterate(_pictures(path, threads))


def decode_file(
    path: str | Path, directory: str | Path, *, progress: Report = silent, threads: int = 0
) -> Pulled:
    """Write every picture of an .mds file as PNG into `directory`.

    `path` may be a URL: of a file on any web server that knows Range requests, only the parts that are needed
    are fetched; from any other, a file of at most 256 MiB. Nothing of it is kept in the cache.

    Raises NotFound (no such file, a blob missing in it), CorruptStream, DigestMismatch, UnsupportedVersion,
    UnknownBase, DoseMismatch, NotReproducible, Unavailable (the web server; the directory cannot be written).
    """
    with Loop() as loop:
        return loop.run(_decode, path, Path(directory), progress, threads)


async def export(reader: Reader, manifest: Manifest, path: Path, report: Report = silent) -> int:
    """Write the sequence with every blob it needs into one .mds file; returns the file's size in bytes.

    It is put together in memory: CorruptStream is raised for a manifest that names over `MAX_EXPORT_BYTES`.
    """
    total = sum(descriptor.size for descriptor in manifest.descriptors())
    if total > MAX_EXPORT_BYTES:
        raise CorruptStream(
            f"sequence {manifest.sequence} has {total} bytes; the limit is {MAX_EXPORT_BYTES}"
        )
    base = await reader.base(manifest.base)
    needed = [base.document.student, base.document.hyper, *manifest.descriptors()]
    unique = {descriptor.digest: descriptor for descriptor in needed}
    blobs: dict[str, bytes] = {}
    for digest, descriptor in unique.items():
        fetch = reader.blob if descriptor.media_type == SEGMENT_TYPE else reader.kept
        blobs[digest] = await fetch(descriptor)
        report(Step("fetching", len(blobs), len(unique)))
    data = await in_thread(write_mds, manifest, blobs)
    await in_thread(write_atomic, path, data)
    return len(data)
