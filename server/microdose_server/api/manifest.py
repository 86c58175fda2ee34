"""The manifest of a sequence: its snapshot, to be asked for again with what one has, or waited for."""

import asyncio
from contextlib import aclosing
from typing import Annotated, Any, Final

from anyio import to_thread
from fastapi import APIRouter, Header, Response

from microdose import keys
from microdose.digest import digest_of
from microdose.errors import NotFound, Removed
from microdose.manifest import MANIFEST_TYPE, Manifest, parse_manifest
from microdose_server.api.auth import READ
from microdose_server.api.conditions import matches
from microdose_server.api.ids import SequenceId
from microdose_server.api.problem import problems
from microdose_server.api.pump import START, StreamLost
from microdose_server.api.query import Since, Wait
from microdose_server.api.services import Here, Services
from microdose_server.store.bus import is_removed, read_manifest

router = APIRouter(prefix="/sequences/{sequence}/manifest", tags=["manifest"])
DOCUMENTED: Final[dict[int | str, dict[str, Any]]] = {
    200: {"model": Manifest},
    304: {"description": "Nothing newer, `wait` included"},
    **problems("not-found", "gone"),
}


class ManifestResponse(Response):
    """A manifest's bytes as they are."""

    media_type = MANIFEST_TYPE


@router.get("", dependencies=[READ], response_class=ManifestResponse, responses=DOCUMENTED)
async def read(
    here: Here,
    sequence: SequenceId,
    since: Since = None,
    wait: Wait = 0,
    if_none_match: Annotated[str | None, Header()] = None,
) -> Response:
    """The newest manifest; 304 if `since` or If-None-Match name it; 404 before the first publication; 410
    once it was removed.

    With `wait`, both of the latter are answered only after that many seconds without news.
    """
    data = await to_thread.run_sync(_load, here, sequence)
    if _is_known(data, since, if_none_match) and wait and await _news(here, sequence, data, wait):
        data = await to_thread.run_sync(_load, here, sequence)
    if data is None:
        raise NotFound(f"sequence {sequence} is not published yet; its job says how far it is")
    headers = {"ETag": _etag(data), "Cache-Control": "no-cache"}
    if _is_known(data, since, if_none_match):
        return Response(status_code=304, headers=headers)
    return ManifestResponse(data, headers=headers)


def _load(here: Services, sequence: str) -> bytes | None:
    data = read_manifest(here.redis, sequence)
    if data is None:
        require_known(here, sequence)  # not found is another thing than not published
    return data


def require_known(here: Services, sequence: str) -> None:
    """Raise NotFound for a sequence that is not there, Removed for one that was."""
    try:
        here.sequences.get(sequence)
    except NotFound as error:
        if is_removed(here.redis, sequence):
            raise Removed(f"sequence {sequence} was removed") from error
        raise


def _is_known(data: bytes | None, since: int | None, if_none_match: str | None) -> bool:
    """Whether there is nothing to send to who has `since` or `if_none_match`."""
    if data is None:
        return True
    newest = since is not None and parse_manifest(data).version <= since
    return newest or matches(if_none_match, _etag(data))


def _etag(data: bytes) -> str:
    return f'"{digest_of(data)}"'


async def _news(here: Services, sequence: str, data: bytes | None, seconds: float) -> bool:
    """Whether an event comes after the manifest's last one within `seconds`, or the log is lost."""
    after = parse_manifest(data).last_event_id if data else START
    try:
        async with (
            asyncio.timeout(seconds),
            aclosing(here.pump.follow(keys.events(sequence), after, quiet_s=seconds)) as entries,
        ):
            return await anext(entries, None) is not None
    except TimeoutError:
        return False
    except StreamLost:
        return True
