"""What every application of ours has around its resources, in the order that a request meets it.

request -> Envelope (id, log) -> BodyLimit -> handlers of problems -> /v1: key and scope, resource
                                                                 '-> health, pages of the problems
"""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import TypeAlias

from fastapi import APIRouter, FastAPI

from microdose_server.api import problem
from microdose_server.api.body import BodyLimit
from microdose_server.api.envelope import Envelope
from microdose_server.api.metrics import RequestMetrics, operation_id
from microdose_server.settings import Limits

Lifespan: TypeAlias = Callable[[FastAPI], AbstractAsyncContextManager[None]]


def assemble(
    title: str,
    summary: str,
    *,
    resources: Sequence[APIRouter],
    health: APIRouter,
    limits: Limits,
    lifespan: Lifespan,
) -> FastAPI:
    """An application of `resources` below /v1, which are asked in that order, and `health` beside them."""
    metrics = RequestMetrics()
    app = FastAPI(
        title=title,
        summary=summary,
        version="1",
        docs_url=None,  # its page would fetch scripts from elsewhere
        redoc_url=None,
        lifespan=lifespan,
        generate_unique_id_function=operation_id,
        responses=problem.problems("invalid-request", "internal", "unavailable"),
        servers=[{"url": "/"}],
    )
    app.state.metrics = metrics
    app.add_middleware(BodyLimit, limits=limits)
    app.add_middleware(Envelope, metrics=metrics)
    problem.add_handlers(app)
    versioned = APIRouter(prefix="/v1", responses=problem.problems("unauthorized", "forbidden"))
    for resource in resources:
        versioned.include_router(resource)
    for router in (versioned, health, problem.router):
        app.include_router(router)
    return app
