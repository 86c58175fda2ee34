"""Reading published sequences: from several sources, verified, with bases and doses kept between runs.

blob(descriptor) ─► first source ─► size, digest ─► bytes
                        └─ missing, damaged or out of reach ─► next source ─► …
"""

import logging
from collections.abc import AsyncGenerator, Sequence
from functools import partial

from microdose.base import MAX_BASE_BYTES, Base, Descriptor, LoadedBase, fetch_verified, load_base
from microdose.document import parse_document
from microdose.errors import CorruptStream, DigestMismatch, NotFound, Unavailable, UnknownBase
from microdose.manifest import Manifest, parse_manifest
from microdose.patience import Retry
from microdose_client.cache import BlobCache
from microdose_client.outage import outlast
from microdose_client.source import Heard, Source
from microdose_client.threads import in_thread

log = logging.getLogger(__name__)


class Reader:
    """The sources of published bytes, first choice first, behind one verified view."""

    def __init__(self, sources: Sequence[Source], cache: BlobCache | None = None) -> None:
        """Read from `sources` (at least one); keep what is shared between sequences in `cache`, if given."""
        self._sources, self._cache = tuple(sources), cache

    async def manifest(self, sequence: str) -> Manifest:
        """The sequence's manifest.

        Raises: NotFound, Unavailable, ProblemError, CorruptStream (also if it is another sequence's),
        UnsupportedVersion.
        """
        for source in self._sources[:-1]:
            try:
                return await self._manifest(source, sequence)
            except (NotFound, Unavailable) as error:
                log.info("%s; asking the next source", error)
        return await self._manifest(self._sources[-1], sequence)

    async def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes that `descriptor` names, of exactly its size and digest.

        Raises: NotFound, Unavailable, ProblemError, CorruptStream (wrong size), DigestMismatch.
        """
        for source in self._sources[:-1]:
            try:
                return await self._blob(source, descriptor)
            except (NotFound, Unavailable, CorruptStream, DigestMismatch) as error:
                log.info("%s; asking the next source", error)
        return await self._blob(self._sources[-1], descriptor)

    async def kept(self, descriptor: Descriptor) -> bytes:
        """Like `blob`, for what several runs need: taken from the cache, or fetched and kept there."""
        if self._cache is None:
            return await self.blob(descriptor)
        data = await in_thread(self._cache.get, descriptor.digest)
        if data is None or len(data) != descriptor.size:
            data = await self.blob(descriptor)
            await in_thread(self._cache.put, descriptor.digest, data)
        return data

    async def base(self, descriptor: Descriptor) -> LoadedBase:
        """The base that `descriptor` names, with its graphs. Raises as `blob`; UnknownBase if missing."""
        try:
            document = await self.kept(descriptor)
            base = parse_document(Base, document, MAX_BASE_BYTES)
            graphs = {graph.digest: await self.kept(graph) for graph in (base.student, base.hyper)}
        except NotFound as error:
            raise UnknownBase(f"without base {descriptor.digest} nothing can be decoded: {error}") from error
        return await in_thread(load_base, document, lambda graph: graphs[graph.digest])

    def events(self, sequence: str, after: str, turn: int = 0) -> AsyncGenerator[Heard | None]:
        """The event log after id `after`, from the source whose turn it is: ids are the same everywhere."""
        return self._sources[turn % len(self._sources)].events(sequence, after)

    @staticmethod
    async def _manifest(source: Source, sequence: str) -> Manifest:
        manifest = await in_thread(parse_manifest, await source.manifest(sequence))
        if manifest.sequence != sequence:
            raise CorruptStream(f"{source.name} answered with sequence {manifest.sequence}, not {sequence}")
        return manifest

    @staticmethod
    async def _blob(source: Source, descriptor: Descriptor) -> bytes:
        data = await source.blob(descriptor)
        try:
            return fetch_verified(descriptor, lambda _: data)
        except (CorruptStream, DigestMismatch) as error:
            raise type(error)(f"{source.name}: {error}") from error


class PatientReader(Reader):
    """A Reader for those who follow: what an outage withholds it asks for until that is over.

    Raises as a Reader, and Unavailable only after an outage of `Retry.outage_s`.
    """

    def __init__(self, sources: Sequence[Source], retry: Retry, cache: BlobCache | None = None) -> None:
        super().__init__(sources, cache)
        self._retry = retry

    async def manifest(self, sequence: str) -> Manifest:
        """As of a Reader."""
        return await outlast(self._retry, partial(super().manifest, sequence))

    async def blob(self, descriptor: Descriptor) -> bytes:
        """As of a Reader."""
        return await outlast(self._retry, partial(super().blob, descriptor))
