"""The events of a sequence, under the upstream's own ids: a viewer may go on here or there."""

import json
from collections.abc import AsyncIterator
from typing import Annotated

from fastapi import APIRouter, Depends
from starlette.responses import StreamingResponse

from microdose_server.api import sse
from microdose_server.api.ids import SequenceId
from microdose_server.api.problem import problems
from microdose_server.api.pump import parse_id
from microdose_server.relay.feed import Feed
from microdose_server.relay.services import LISTEN, Here
from microdose_server.store.bus import event_id

router = APIRouter(prefix="/sequences/{sequence}/events", tags=["events"])


async def _followed(here: Here, sequence: SequenceId) -> AsyncIterator[Feed]:
    """The sequence's feed, until the answer has ended."""
    newest = here.feeds.heard(sequence)
    if newest is None:
        newest = await here.manifests.newest(sequence)
    async with here.feeds.following(sequence, newest) as feed:
        yield feed


@router.get(
    "",
    dependencies=[LISTEN],
    response_class=StreamingResponse,
    responses=sse.DOCUMENTED | problems("not-found", "gone", "too-many-requests", "bad-upstream"),
)
async def follow(
    here: Here,
    sequence: SequenceId,
    after: Annotated[str, Depends(sse.resume_id)],
    feed: Annotated[Feed, Depends(_followed)],
) -> StreamingResponse:
    """What the upstream says: each event once and in order, from Last-Event-ID on.

    `reset` in place of events that this relay has no more: read the manifest again.
    """
    place, newest = parse_id(after)[0], feed.log.newest
    if place > newest:  # more than this relay has heard of, so far
        newest = await here.manifests.newest(sequence, at_least=place)
    return sse.respond(_events(feed, sequence, place, newest))


async def _events(feed: Feed, sequence: str, place: int, newest: int) -> AsyncIterator[bytes]:
    yield sse.opening()
    log, era = feed.log, feed.log.era
    if place > newest:  # a number of another time: the upstream's log was lost and began anew
        place = newest
        yield _reset(sequence, place)
    while True:
        page = log.after(place) if log.era == era else None
        if page is None:
            place, era = log.newest, log.era
            yield _reset(sequence, place)
        elif page:
            place += len(page)
            yield b"".join(event.message for event in page)
            if page[-1].type == "removed":
                return
        elif feed.over:
            break
        elif not await feed.news(sse.PING_S):
            yield sse.ping()
    yield sse.bye()


def _reset(sequence: str, place: int) -> bytes:
    where = json.dumps({"manifest": f"/v1/sequences/{sequence}/manifest"})
    return sse.message("reset", where, event_id(place))
