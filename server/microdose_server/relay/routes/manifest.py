"""The manifest of a sequence, as the API has it."""

from typing import Annotated

from fastapi import APIRouter, Header, Response

from microdose.errors import NotFound, Removed
from microdose_server.api.conditions import matches
from microdose_server.api.ids import SequenceId
from microdose_server.api.manifest import DOCUMENTED, ManifestResponse
from microdose_server.api.problem import problems
from microdose_server.api.query import Since, Wait
from microdose_server.relay.manifests import Snapshot
from microdose_server.relay.services import READ, Here, Relay

router = APIRouter(prefix="/sequences/{sequence}/manifest", tags=["manifest"])


@router.get(
    "",
    dependencies=[READ],
    response_class=ManifestResponse,
    responses=DOCUMENTED | problems("bad-upstream"),
)
async def read(
    here: Here,
    sequence: SequenceId,
    since: Since = None,
    wait: Wait = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The newest manifest; 304 if `since` or If-None-Match name it; 404 and 410 as upstream.

    With `wait`, 304 and 404 are answered only after that many seconds without news.
    """
    found = await _find(here, sequence)
    if wait and _is_known(found, since, if_none_match):
        newest = found.newest if isinstance(found, Snapshot) else 0
        async with here.feeds.following(sequence, newest) as feed:
            await feed.passes(newest, wait)
        if isinstance(feed.error, NotFound):  # newer than the manifest that is kept, however fresh that is
            raise feed.error.with_traceback(None)
        found = await _find(here, sequence)
    if isinstance(found, NotFound):
        raise found
    headers = {"ETag": found.etag, "Cache-Control": "no-cache"}
    if _is_known(found, since, if_none_match):
        return Response(status_code=304, headers=headers)
    return ManifestResponse(found.data, headers=headers)


async def _find(here: Relay, sequence: str) -> Snapshot | NotFound:
    """The manifest, or that there is none yet."""
    try:
        return await here.manifests.get(sequence)
    except Removed:
        raise
    except NotFound as error:
        return error


def _is_known(found: Snapshot | NotFound, since: int | None, if_none_match: str | None) -> bool:
    """Whether there is nothing to send to who has `since` or `if_none_match`."""
    if isinstance(found, NotFound):
        return True
    return (since is not None and found.version <= since) or matches(if_none_match, found.etag)
