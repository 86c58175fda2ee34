"""Blobs, from the disk of this relay; those that are not there yet are fetched first."""

from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends, Header, Request, Response
from starlette.responses import FileResponse

from microdose_server.api.blobs import DOCUMENTED, answer
from microdose_server.api.problem import problems
from microdose_server.relay.services import FETCH, Here

router = APIRouter(prefix="/blobs", tags=["blobs"])


async def _held(here: Here, digest: str) -> AsyncIterator[bool]:
    """Whether it was here already; it stays until the answer has ended."""
    async with here.blobs.held(digest) as found:
        yield found


@router.head("/{digest}", dependencies=[FETCH], include_in_schema=False)
@router.get(
    "/{digest}",
    dependencies=[FETCH],
    response_class=FileResponse,
    responses=DOCUMENTED | problems("bad-upstream", "no-space"),
)
def read(
    here: Here,
    request: Request,
    digest: str,
    found: Annotated[bool, Depends(_held)],
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The bytes that `digest` names, or ranges of them; they were verified when they came.

    `X-Cache` says HIT or MISS.
    """
    response = answer(request, here.blobs.store, digest, if_none_match)
    response.headers["X-Cache"] = "HIT" if found else "MISS"
    return response
