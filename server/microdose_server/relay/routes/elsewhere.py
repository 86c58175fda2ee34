"""What a relay has not: publishers who come to the wrong place are told the right one."""

from typing import Final

from fastapi import APIRouter, Request, Response

from microdose.errors import NotFound
from microdose.problem import make_problem
from microdose_server.api import problem

METHODS: Final = ["GET", "POST", "PUT", "PATCH", "DELETE"]
router = APIRouter(tags=["elsewhere"])


@router.api_route("/{rest:path}", methods=METHODS, include_in_schema=False)
async def answer(request: Request) -> Response:
    """Every path below /v1 that no other resource has; so it comes last."""
    if request.method == "GET":
        raise NotFound(f"a relay has no {request.scope['path'][:200]!r}; its upstream may")
    detail = "a relay only shows what its upstream publishes: publish there"
    return problem.respond(make_problem("method-not-allowed", detail), request.scope, {"Allow": "GET, HEAD"})
