"""The key in use: whom it belongs to and what it allows. A proxy that sends blobs by itself asks this."""

from random import randint
from typing import Annotated

from fastapi import APIRouter, Response

from microdose_server.api.auth import FETCH
from microdose_server.store.apikeys import ApiKey

router = APIRouter(prefix="/key", tags=["key"])
HELD_S = 10
"""A proxy may go by an answer for so long at least, twice as long at most: keys that came together are
not asked for together again. And so long once more while it asks, so that nobody has to wait."""


@router.get("")
async def read(key: Annotated[ApiKey, FETCH], response: Response) -> ApiKey:
    """The key that this request was made with, without its secret."""
    response.headers.update(held())
    return key


def held() -> dict[str, str]:
    """The headers that let a proxy go by an answer."""
    held_s = randint(HELD_S, 2 * HELD_S)
    control = f"public, max-age={held_s}, stale-while-revalidate={HELD_S}"
    return {"Cache-Control": control, "Vary": "Authorization"}
