"""What the endpoints work with, made once per process by the lifespan."""

from collections import Counter
from dataclasses import dataclass, field
from typing import Annotated

import redis
from anyio import CapacityLimiter
from fastapi import Depends, Request

from microdose.resources import BaseInfo
from microdose_server.api.pump import Pump
from microdose_server.intake.sandbox import Sandbox
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.settings import Settings
from microdose_server.store.apikeys import ApiKeys
from microdose_server.store.blobs import BlobStore
from microdose_server.store.sequences import Sequences


@dataclass(frozen=True)
class Services:
    """One process's doors to the store; `intake` bounds how many pictures are decoded at a time.

    `uploads` bounds how many archives, clips and forms of pictures wait for that at a time.
    `streams` counts the open event streams of each key.
    """

    settings: Settings
    redis: redis.Redis
    sequences: Sequences
    jobs: Jobs
    queue: JobQueue
    keys: ApiKeys
    blobs: BlobStore
    originals: BlobStore
    checkpoints: BlobStore
    bases: tuple[BaseInfo, ...]
    pump: Pump
    sandbox: Sandbox
    intake: CapacityLimiter
    uploads: CapacityLimiter
    streams: Counter[str] = field(default_factory=Counter)


async def services_of(request: Request) -> Services:
    """The services of the app that handles `request`."""
    services = request.app.state.services
    assert isinstance(services, Services)
    return services


Here = Annotated[Services, Depends(services_of)]
