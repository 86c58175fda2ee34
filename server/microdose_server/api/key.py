"""The key in use: whom it belongs to and what it allows. A proxy that sends blobs by itself asks this."""

from typing import Annotated

from fastapi import APIRouter, Response

from microdose_server.api.auth import READ
from microdose_server.store.apikeys import ApiKey

router = APIRouter(prefix="/key", tags=["key"])
HELD_S = 10
"""How long a proxy may go by an answer; and again so long, while it asks anew, so that nobody has to wait."""


@router.get("")
async def read(key: Annotated[ApiKey, READ], response: Response) -> ApiKey:
    """The key that this request was made with, without its secret."""
    response.headers["Cache-Control"] = f"public, max-age={HELD_S}, stale-while-revalidate={HELD_S}"
    response.headers["Vary"] = "Authorization"
    return key
