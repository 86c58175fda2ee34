"""Is the process alive, can it serve, and what has it done: for probes and Prometheus, without a key."""

import os
from collections.abc import Mapping

import redis
from fastapi import APIRouter, Request
from prometheus_client import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector
from starlette.responses import PlainTextResponse, Response

from microdose.problem import ProblemError, make_problem
from microdose_server.api.metrics import Present, exposition
from microdose_server.api.services import Here, Services

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Answers while the event loop turns."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(here: Here) -> dict[str, str]:
    """Each thing that serving needs; 503 names those that are missing."""
    return verdict({"redis": _redis(here), "blobs": _blobs(here), "open": not here.pump.draining})


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(here: Here, request: Request) -> Response:
    """For Prometheus: requests, jobs, workers, listeners, disk."""
    return respond(request, Present(here))


def verdict(checks: Mapping[str, bool]) -> dict[str, str]:
    """That all is there. Raises ProblemError with the names of what is not."""
    if missing := [name for name, good in checks.items() if not good]:
        raise ProblemError(make_problem("unavailable", f"not ready: {', '.join(missing)}"))
    return dict.fromkeys(checks, "ok")


def respond(request: Request, present: Collector) -> Response:
    """The requests that the application has counted, and what is collected at this moment."""
    data = exposition(request.app.state.metrics, present)
    return Response(data, media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _redis(here: Services) -> bool:
    try:
        return bool(here.redis.ping())
    except redis.RedisError:
        return False


def _blobs(here: Services) -> bool:
    return os.access(here.blobs.root, os.W_OK)
