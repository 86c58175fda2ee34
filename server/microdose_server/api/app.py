"""The API as an application: its resources, and what lives as long as the process."""

import os
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import TypeAlias

from anyio import CapacityLimiter, to_thread
from fastapi import FastAPI

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
    sequences,
    shelf,
    upload,
)
from microdose_server.api.assembly import Lifespan, assemble
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
RESOURCES = (sequences, frames, upload, manifest, events, jobs, blobs, bases, shelf, key)


def create_app(settings: Settings, load_bases: LoadBases = bases.shipped_bases) -> FastAPI:
    """The API over the Redis and the data folder of `settings`.

    `load_bases` publishes the bases on offer into the blob store, once, at start.
    """
    return assemble(
        "Microdose",
        "Picture sequences as latents plus a small dose of decoder weights.",
        resources=[resource.router for resource in RESOURCES],
        health=health.router,
        limits=settings.limits,
        lifespan=_lifespan(settings, load_bases),
    )


def _lifespan(settings: Settings, load_bases: LoadBases) -> Lifespan:
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
                    uploads=CapacityLimiter(os.cpu_count() or 1),
                )
                app.state.drain = pump.drain
                yield
        client.close()

    return lifespan
