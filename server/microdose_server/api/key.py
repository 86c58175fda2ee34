"""The key in use: whom it belongs to and what it allows. A cache before the API asks this for each blob."""

from typing import Annotated

from fastapi import APIRouter

from microdose_server.api.auth import READ
from microdose_server.store.apikeys import ApiKey

router = APIRouter(prefix="/key", tags=["key"])


@router.get("")
def read(key: Annotated[ApiKey, READ]) -> ApiKey:
    """The key that this request was made with, without its secret."""
    return key
