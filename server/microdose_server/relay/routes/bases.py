"""The bases that the upstream encodes for."""

from functools import partial
from typing import Final

from fastapi import APIRouter
from pydantic import TypeAdapter, ValidationError

from microdose.errors import BadUpstream
from microdose.resources import BaseInfo
from microdose_server.api.problem import problems
from microdose_server.relay.kept import Policy
from microdose_server.relay.services import READ, Here
from microdose_server.relay.upstream import Upstream

router = APIRouter(prefix="/bases", tags=["bases"])
POLICY: Final = Policy(fresh_s=60.0, most=1)
PATH: Final = "/v1/bases"
MAX_BYTES: Final = 1 << 20
_LISTING = TypeAdapter(tuple[BaseInfo, ...])


@router.get("", dependencies=[READ], responses=problems("bad-upstream"))
async def listing(here: Here) -> list[BaseInfo]:
    """What a client can fetch ahead, before it knows a sequence."""
    return list(await here.bases.get(PATH, partial(_ask, here.upstream)))


async def _ask(upstream: Upstream, old: tuple[BaseInfo, ...] | None) -> tuple[BaseInfo, ...]:
    try:
        return _LISTING.validate_json(await upstream.document(PATH, MAX_BYTES) or b"")
    except ValidationError:
        raise BadUpstream("the upstream's list of bases is none") from None
