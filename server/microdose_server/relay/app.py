"""The relay as an application, behind the same envelope and bounds as the API."""

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, aclosing, asynccontextmanager

from anyio import to_thread
from fastapi import APIRouter, FastAPI, Request, Response

from microdose.errors import NotFound
from microdose.problem import make_problem
from microdose_server.api import problem
from microdose_server.api.body import BodyLimit
from microdose_server.api.envelope import Envelope
from microdose_server.api.metrics import RequestMetrics, operation_id
from microdose_server.relay.blobs import Blobs
from microdose_server.relay.cache import BlobCache
from microdose_server.relay.feeds import Feeds
from microdose_server.relay.flights import Flights
from microdose_server.relay.kept import Kept
from microdose_server.relay.keys import Keys
from microdose_server.relay.manifests import Manifests
from microdose_server.relay.routes import bases, blobs, events, health, key, manifest
from microdose_server.relay.services import Relay
from microdose_server.relay.upstream import Upstream
from microdose_server.settings import Settings
from microdose_server.store.blobs import BlobStore

METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def relay_blobs(settings: Settings) -> BlobStore:
    """Where a relay keeps blobs: apart from those of an API that may share the data folder. A proxy in the
    group may read it.
    """
    return BlobStore(settings.data_dir / "relay", mode=0o640)


def create_relay(settings: Settings, key: str) -> FastAPI:
    """A relay of `settings.upstream`, which it reads with `key`."""
    metrics = RequestMetrics()
    app = FastAPI(
        title="Microdose relay",
        summary="Carries published sequences of another server.",
        version="1",
        docs_url=None,
        redoc_url=None,
        lifespan=_lifespan(settings, key),
        generate_unique_id_function=operation_id,
        responses=problem.problems("invalid-request", "internal", "unavailable"),
        servers=[{"url": "/"}],
    )
    app.state.metrics = metrics
    app.add_middleware(BodyLimit, limits=settings.limits)
    app.add_middleware(Envelope, metrics=metrics)
    problem.add_handlers(app)
    app.include_router(_versioned())
    app.include_router(health.router)
    app.include_router(problem.router)
    return app


def _versioned() -> APIRouter:
    router = APIRouter(prefix="/v1", responses=problem.problems("unauthorized", "forbidden"))
    for resource in (manifest, events, blobs, bases, key):
        router.include_router(resource.router)
    router.add_api_route("/{rest:path}", _other, methods=METHODS, tags=["relay"], include_in_schema=False)
    return router


async def _other(request: Request) -> Response:
    """For what a relay has not; publishers who come to the wrong place are told the right one."""
    if request.method == "GET":
        raise NotFound(f"a relay has no {request.scope['path'][:200]!r}; its upstream may")
    detail = "a relay only shows what its upstream publishes: publish there"
    return problem.respond(make_problem("method-not-allowed", detail), request.scope, {"Allow": "GET, HEAD"})


def _lifespan(settings: Settings, key: str) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
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
