"""The events of a sequence, live and replayed, as server-sent events."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Annotated

from anyio import to_thread
from fastapi import APIRouter, Depends
from starlette.responses import StreamingResponse

from microdose import keys
from microdose.errors import NotFound, Removed
from microdose.manifest import parse_manifest
from microdose_server.api import sse
from microdose_server.api.auth import LISTEN
from microdose_server.api.ids import SequenceId
from microdose_server.api.manifest import require_known
from microdose_server.api.problem import problems
from microdose_server.api.pump import START, StreamLost, is_later, parse_id
from microdose_server.api.services import Here, Services
from microdose_server.store.bus import read_manifest

router = APIRouter(prefix="/sequences/{sequence}/events", tags=["events"])


@router.get(
    "",
    dependencies=[LISTEN],
    response_class=StreamingResponse,
    responses=sse.DOCUMENTED | problems("not-found", "gone", "too-many-requests"),
)
async def follow(
    here: Here, sequence: SequenceId, after: Annotated[str, Depends(sse.resume_id)]
) -> StreamingResponse:
    """`init`, `segment`, `discontinuity`, `end`, `removed`: each once and in order, from Last-Event-ID on.

    `reset` in place of events that are gone: read the manifest it names again; the rest goes on from there.
    """
    await to_thread.run_sync(require_known, here, sequence)
    return sse.respond(_events(here, sequence, after))


async def _events(here: Services, sequence: str, after: str) -> AsyncIterator[bytes]:
    yield sse.opening()
    while not here.pump.draining:
        if is_later(after, newest := await _newest(here, sequence)):
            yield _reset(sequence, newest)  # an id of another time: the stream was lost and began anew
            after = newest
        seq = parse_id(after)[0]
        try:
            async with aclosing(sse.stream(here.pump, keys.events(sequence), after)) as entries:
                async for entry in entries:
                    if entry is None:
                        yield sse.ping()
                        continue
                    removed = entry.type == "removed"
                    if entry.place[0] > seq + 1 and not removed:
                        break  # ids are dense: some were trimmed
                    yield entry.message
                    if removed:
                        return
                    after, seq = entry.id, entry.place[0]
                else:
                    break  # draining, or Redis is lost
        except StreamLost:
            if not await to_thread.run_sync(_is_known, here, sequence):
                break  # who comes back is told so
        if (newest := await _newest(here, sequence)) != after:
            yield _reset(sequence, newest)
        after = newest
    yield sse.bye()


def _is_known(here: Services, sequence: str) -> bool:
    try:
        require_known(here, sequence)
    except (NotFound, Removed):
        return False
    return True


async def _newest(here: Services, sequence: str) -> str:
    """The last event that the manifest has in it."""
    data = await to_thread.run_sync(read_manifest, here.redis, sequence)
    return parse_manifest(data).last_event_id if data else START


def _reset(sequence: str, event_id: str) -> bytes:
    return sse.message("reset", json.dumps({"manifest": f"/v1/sequences/{sequence}/manifest"}), event_id)
