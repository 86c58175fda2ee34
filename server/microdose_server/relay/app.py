"""The relay as an application, behind the same envelope and bounds as the API."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager

from anyio import to_thread
from fastapi import FastAPI

from microdose_server.api.assembly import Lifespan, assemble
from microdose_server.relay.blobs import Blobs
from microdose_server.relay.cache import BlobCache
from microdose_server.relay.feeds import Feeds
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Kept
from microdose_server.relay.keys import Keys
from microdose_server.relay.manifests import Manifests
from microdose_server.relay.routes import bases, blobs, elsewhere, events, health, key, manifest
from microdose_server.relay.services import Relay
from microdose_server.relay.upstream import Upstream
from microdose_server.settings import Settings
from microdose_server.store.blobs import BlobStore

RESOURCES = (manifest, events, blobs, bases, key, elsewhere)


def relay_blobs(settings: Settings) -> BlobStore:
    """Where a relay keeps blobs: apart from those of an API that may share the data folder. A proxy in the
    group may read it.
    """
    return BlobStore(settings.data_dir / "relay", mode=0o640)


def create_relay(settings: Settings, key: str) -> FastAPI:
    """A relay of `settings.upstream`, which it reads with `key`."""
    return assemble(
        "Microdose relay",
        "Carries published sequences of another server.",
        resources=[resource.router for resource in RESOURCES],
        health=health.router,
        limits=settings.limits,
        lifespan=_lifespan(settings, key),
    )


def _lifespan(settings: Settings, key: str) -> Lifespan:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        limits = settings.limits
        upstream = Upstream(settings.upstream or "", key, streams=limits.max_followed)
        cache = await to_thread.run_sync(BlobCache, relay_blobs(settings), settings.cache_bytes)
        async with aclosing(upstream), Flights() as flights:
            fetched = Blobs(upstream, flights, cache)
            async with Feeds(upstream, limits.max_followed, fetched.have) as feeds:
                app.state.relay = Relay(
                    limits=limits,
                    upstream=upstream,
                    keys=Keys(upstream, flights),
                    manifests=Manifests(upstream, flights, feeds.heard),
                    feeds=feeds,
                    blobs=fetched,
                    bases=Kept(flights, bases.POLICY),
                )
                app.state.drain = feeds.drain
                yield

    return lifespan
