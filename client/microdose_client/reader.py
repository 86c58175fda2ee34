"""Reading published sequences: from several sources, verified, with bases and doses kept between runs.

blob(descriptor) ─► first source ─► size, digest ─► bytes
                        └─ missing, damaged or out of reach ─► next source ─► …
"""

import logging
from collections.abc import Sequence

from microdose.base import Descriptor, LoadedBase, fetch_verified, load_base
from microdose.errors import CorruptStream, DigestMismatch, NotFound, Unavailable, UnknownBase
from microdose.manifest import Manifest, parse_manifest
from microdose_client.cache import BlobCache
from microdose_client.source import Source

log = logging.getLogger(__name__)


class Reader:
    """The sources of published bytes, first choice first, behind one verified view. Thread-safe."""

    def __init__(self, sources: Sequence[Source], cache: BlobCache | None = None) -> None:
        """Read from `sources` (at least one); keep what is shared between sequences in `cache`, if given."""
        self._sources, self._cache = tuple(sources), cache

    def manifest(self, sequence: str) -> Manifest:
        """The sequence's manifest.

        Raises: NotFound, Unavailable, ProblemError, CorruptStream (also if it is another sequence's),
        UnsupportedVersion.
        """
        for source in self._sources[:-1]:
            try:
                return self._manifest(source, sequence)
            except (NotFound, Unavailable) as error:
                log.info("%s; asking the next source", error)
        return self._manifest(self._sources[-1], sequence)

    def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes that `descriptor` names, of exactly its size and digest.

        Raises: NotFound, Unavailable, ProblemError, CorruptStream (wrong size), DigestMismatch.
        """
        for source in self._sources[:-1]:
            try:
                return self._blob(source, descriptor)
            except (NotFound, Unavailable, CorruptStream, DigestMismatch) as error:
                log.info("%s; asking the next source", error)
        return self._blob(self._sources[-1], descriptor)

    def kept(self, descriptor: Descriptor) -> bytes:
        """Like `blob`, for what several runs need: taken from the cache, or fetched and kept there."""
        if self._cache is None:
            return self.blob(descriptor)
        data = self._cache.get(descriptor.digest)
        if data is None or len(data) != descriptor.size:
            data = self.blob(descriptor)
            self._cache.put(descriptor.digest, data)
        return data

    def base(self, descriptor: Descriptor) -> LoadedBase:
        """The base that `descriptor` names, with its graphs. Raises as `blob`; UnknownBase if missing."""
        try:
            return load_base(self.kept(descriptor), self.kept)
        except NotFound as error:
            raise UnknownBase(f"without base {descriptor.digest} nothing can be decoded: {error}") from error

    @staticmethod
    def _manifest(source: Source, sequence: str) -> Manifest:
        manifest = parse_manifest(source.manifest(sequence))
        if manifest.sequence != sequence:
            raise CorruptStream(f"{source.name} answered with sequence {manifest.sequence}, not {sequence}")
        return manifest

    @staticmethod
    def _blob(source: Source, descriptor: Descriptor) -> bytes:
        data = source.blob(descriptor)
        try:
            return fetch_verified(descriptor, lambda _: data)
        except (CorruptStream, DigestMismatch) as error:
            raise type(error)(f"{source.name}: {error}") from error
