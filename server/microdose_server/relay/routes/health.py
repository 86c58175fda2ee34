"""Is the relay alive, can it serve, and what has it done: without a key, as of the API."""

import os

from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse, Response

from microdose.errors import MicrodoseError
from microdose_server.api.health import respond, verdict
from microdose_server.relay.metrics import Present
from microdose_server.relay.services import Here, Relay

router = APIRouter(tags=["health"])


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Answers while the event loop turns."""
    return {"status": "ok"}


@router.get("/readyz")
async def readyz(here: Here) -> dict[str, str]:
    """Each thing that serving needs; 503 names those that are missing.

    An upstream that went away is missed only when what is known of it has become too old.
    """
    return verdict(
        {
            "upstream": await _knows(here),
            "blobs": os.access(here.blobs.store.root, os.W_OK),
            "open": not here.feeds.draining,
        }
    )


@router.get("/metrics", response_class=PlainTextResponse)
def metrics(here: Here, request: Request) -> Response:
    """For Prometheus: requests, listeners, what is followed, the cache, the upstream."""
    return respond(request, Present(here))


async def _knows(here: Relay) -> bool:
    try:
        await here.keys.own()
    except MicrodoseError:
        return False
    return True
