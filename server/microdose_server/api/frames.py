"""Frames: one picture each, put at its number, in any order, in parallel, each retried alone."""

from functools import partial
from typing import Annotated
from urllib.parse import unquote

from anyio import to_thread
from fastapi import APIRouter, Header, Path, Request, Response

from microdose.resources import Frame
from microdose_server.api.auth import PUBLISH, READ
from microdose_server.api.body import length_of, received
from microdose_server.api.ids import SequenceId
from microdose_server.api.keeping import keep, require_place, require_room
from microdose_server.api.media import accept
from microdose_server.api.problem import problems
from microdose_server.api.services import Here
from microdose_server.intake.archive import display_name

router = APIRouter(prefix="/sequences/{sequence}/frames", tags=["frames"])
ACCEPTED = ("image/*", "application/octet-stream")
PICTURES = accept(*ACCEPTED)
REFUSED = problems(
    "not-found", "conflict", "too-large", "too-slow", "unsupported-media-type", "bad-picture", "bad-upload",
    "digest-mismatch", "invalid-request", "no-space", "over-quota", "too-many-requests",
)  # fmt: skip
_BINARY = {"schema": {"type": "string", "format": "binary"}}
DisplayName = Annotated[str | None, Header(description="a name to show, percent-encoded")]


@router.get("", dependencies=[READ], responses=problems("not-found"))
def listing(here: Here, sequence: SequenceId) -> list[Frame]:
    """What has arrived so far, by number: what a client that resumes need not send again."""
    here.sequences.get(sequence)
    return here.sequences.frames(sequence)


@router.put(
    "/{n}",
    dependencies=[PUBLISH, PICTURES],
    responses={201: {"model": Frame, "description": "A new frame"}, **REFUSED},
    openapi_extra={"requestBody": {"required": True, "content": dict.fromkeys(ACCEPTED, _BINARY)}},
)
async def put(
    here: Here,
    sequence: SequenceId,
    n: Annotated[int, Path(ge=0, le=2**31)],
    request: Request,
    response: Response,
    x_microdose_name: DisplayName = None,
) -> Frame:
    """Put the bytes of a picture file at number `n`: 201 for a new frame, 200 for one replaced or repeated.

    The picture is judged before anything of it is kept. A `Repr-Digest` (sha-256) is held to, if sent.
    A live sequence takes none that is behind what it has published (409), and no more than may wait (429).
    """
    name = display_name(unquote(x_microdose_name)) if x_microdose_name else None
    await to_thread.run_sync(require_place, here, sequence, n)
    await to_thread.run_sync(require_room, here, length_of(request, here.settings.limits.max_picture_bytes))
    async with received(request, here.originals) as incoming:
        work = partial(keep, here, sequence, n, incoming, name)
        frame, new = await to_thread.run_sync(work, limiter=here.intake)
    response.status_code = 201 if new else 200
    return frame
