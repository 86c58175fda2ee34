"""Blobs of the upstream: fetched once, verified before anybody gets a byte, kept."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from functools import partial
from typing import Final

from anyio import to_thread

from microdose.errors import BadUpstream
from microdose_server.relay.cache import BlobCache
from microdose_server.relay.flights import Flights
from microdose_server.relay.upstream import Upstream
from microdose_server.store.blobs import BlobStore

FETCHES: Final = 16
"""At a time; each holds a piece of a blob in memory and the rest on disk."""


class Blobs:
    """Counts what it `found` here and what it `fetched`."""

    def __init__(self, upstream: Upstream, flights: Flights, cache: BlobCache) -> None:
        self.cache = cache
        self.found = self.fetched = self.fetched_bytes = 0
        self._upstream, self._flights = upstream, flights
        self._turn = asyncio.Semaphore(FETCHES)

    @property
    def store(self) -> BlobStore:
        """Where they are."""
        return self.cache.store

    @asynccontextmanager
    async def held(self, digest: str) -> AsyncIterator[bool]:
        """Have a blob in the store while the context lasts; with whether it was there already.

        Raises as `Upstream`; NotFound for what is no digest; OSError: the disk is full.
        """
        found = digest in self.cache
        await self.have(digest)
        self.found += found
        with self.cache.using(digest):
            yield found

    async def have(self, digest: str) -> None:
        """Fetch a blob that is not here. Raises as `held`."""
        self.store.path(digest)
        while digest not in self.cache:
            await self._flights.join(digest, partial(self._fetch, digest))

    async def _fetch(self, digest: str) -> None:
        async with self._turn, self._upstream.blob(digest) as pieces:
            with await to_thread.run_sync(self.store.incoming) as incoming:
                async for piece in pieces:
                    await to_thread.run_sync(incoming.write, piece)
                if incoming.digest != digest:
                    what = f"{incoming.size} bytes of the digest {incoming.digest}"
                    raise BadUpstream(f"the upstream sends {what} for {digest}")
                await to_thread.run_sync(incoming.keep)
        self.fetched += 1
        self.fetched_bytes += incoming.size
        self.cache.add(digest, incoming.size)
