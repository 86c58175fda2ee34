"""The application: routes, middleware and what lives as long as the process.

request -> Envelope (id, log) -> BodyLimit -> handlers of problems -> key and scope -> resource
"""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread
from fastapi import APIRouter, FastAPI

from microdose.resources import BaseInfo
from microdose_server.api import (
    bases,
    blobs,
    events,
    frames,
    health,
    jobs,
    key,
    manifest,
    problem,
    sequences,
    shelf,
    upload,
)
from microdose_server.api.body import BodyLimit
from microdose_server.api.envelope import Envelope
from microdose_server.api.metrics import RequestMetrics, operation_id
from microdose_server.api.pump import BLOCK_S, Pump
from microdose_server.api.recovering import recovering
from microdose_server.api.services import Services
from microdose_server.intake.sandbox import Sandbox
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.recovery import Recovery
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys
from microdose_server.store.blobs import BlobStore, checkpoints, originals, public_blobs
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import connect, ping
from microdose_server.store.sequences import Sequences

LoadBases: TypeAlias = Callable[[BlobStore], tuple[BaseInfo, ...]]


def create_app(settings: Settings, load_bases: LoadBases = bases.shipped_bases) -> FastAPI:
    """The API over the Redis and the data folder of `settings`.

    `load_bases` publishes the bases on offer into the blob store, once, at start.
    """
    metrics = RequestMetrics()
    app = FastAPI(
        title="Microdose",
        summary="Picture sequences as latents plus a small dose of decoder weights.",
        version="1",
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        lifespan=_lifespan(settings, load_bases),
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
    for resource in (sequences, frames, upload, manifest, events, jobs, blobs, bases, shelf, key):
        router.include_router(resource.router)
    return router


def _lifespan(
    settings: Settings, load_bases: LoadBases
) -> Callable[[FastAPI], AbstractAsyncContextManager[None]]:
    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        client = connect(redis_url(settings), block_s=BLOCK_S)
        await to_thread.run_sync(ping, client)
        blob_store, queue = public_blobs(settings.data_dir), JobQueue(client)
        on_offer = await to_thread.run_sync(load_bases, blob_store)
        with Sandbox(settings.limits) as sandbox:
            async with (
                Pump(client) as pump,
                recovering(Recovery(queue, settings), settings.look_s),
            ):
                app.state.services = Services(
                    settings=settings,
                    redis=client,
                    sequences=Sequences(client),
                    jobs=Jobs(client),
                    queue=queue,
                    keys=ApiKeys(client),
                    blobs=blob_store,
                    originals=originals(settings.data_dir),
                    checkpoints=checkpoints(settings.data_dir),
                    bases=on_offer,
                    pump=pump,
                    sandbox=sandbox,
                    intake=CapacityLimiter(os.cpu_count() or 1),
                )
                app.state.drain = pump.drain
                yield
        client.close()

    return lifespan
