"""The key in use, as the upstream knows it: for a proxy or another relay before this one."""

from typing import Annotated

from fastapi import APIRouter, Response

from microdose_server.api.key import held
from microdose_server.api.problem import problems
from microdose_server.relay.services import FETCH
from microdose_server.store.apikeys import ApiKey

router = APIRouter(prefix="/key", tags=["key"])


@router.get("", responses=problems("bad-upstream"))
async def read(key: Annotated[ApiKey, FETCH], response: Response) -> ApiKey:
    """The key that this request was made with, without its secret."""
    response.headers.update(held())
    return key
