"""Sequences: open, list, look at, complete, remove."""

from typing import Annotated

from fastapi import APIRouter, Body, Response

from microdose.problem import FieldError, ProblemError, make_problem
from microdose.resources import Job, Page, Sequence, SequenceComplete, SequenceCreate
from microdose_server.api.auth import PUBLISH, READ, Publisher
from microdose_server.api.ids import SequenceId
from microdose_server.api.media import accept
from microdose_server.api.problem import problems
from microdose_server.api.query import Cursor, Limit
from microdose_server.api.services import Here, Services
from microdose_server.store import arrivals
from microdose_server.store.sequences import IN_WORK

router = APIRouter(prefix="/sequences", tags=["sequences"])
MISSING = problems("not-found")


@router.post(
    "",
    status_code=201,
    dependencies=[PUBLISH, accept("application/json")],
    responses=problems("too-large", "too-slow", "unsupported-media-type", "over-quota"),
)
def create(
    here: Here,
    key: Publisher,
    response: Response,
    wish: Annotated[SequenceCreate | None, Body()] = None,
) -> Sequence:
    """Open a new, empty sequence; a live one has its job at once."""
    wish = wish or SequenceCreate()
    check_profile(here, wish.profile)
    sequence = here.sequences.create(wish, key.id, here.settings.limits)
    if sequence.live:
        here.queue.enqueue(sequence.id)
        sequence = here.sequences.get(sequence.id)
    response.headers["Location"] = f"/v1/sequences/{sequence.id}"
    return sequence


def check_profile(here: Services, profile: str) -> None:
    """Raises ProblemError for a profile without a base; an API without any leaves it to the worker."""
    on_offer = [base.profile for base in here.bases]
    if on_offer and profile not in on_offer:
        detail = f"no base for profile {profile!r}; there are {', '.join(on_offer)}"
        wrong = FieldError(pointer="/profile", detail=detail)
        raise ProblemError(make_problem("invalid-request", detail, errors=(wrong,)))


@router.get("", dependencies=[READ])
def page(here: Here, limit: Limit = 50, cursor: Cursor = None) -> Page[Sequence]:
    """All sequences, newest first."""
    return here.sequences.page(limit=limit, cursor=cursor)


@router.get("/{sequence}", dependencies=[READ], responses=MISSING)
def read(here: Here, sequence: SequenceId) -> Sequence:
    """Its state and, once published, its measured results."""
    return here.sequences.get(sequence)


@router.delete("/{sequence}", status_code=204, dependencies=[PUBLISH], responses=MISSING)
def delete(here: Here, sequence: SequenceId) -> None:
    """Remove it, and tell its viewers; a job that works on it is cancelled."""
    found = here.sequences.get(sequence)
    if found.job and found.state in IN_WORK:
        here.queue.cancel(found.job)
    here.sequences.delete(sequence)


@router.post(
    "/{sequence}/complete",
    status_code=202,
    dependencies=[PUBLISH, accept("application/json")],
    responses=problems(
        "not-found", "conflict", "bad-upload", "invalid-request", "too-large", "unsupported-media-type"
    ),
)
def complete(
    here: Here,
    sequence: SequenceId,
    response: Response,
    wish: Annotated[SequenceComplete | None, Body()] = None,
) -> Job:
    """Say that all frames, 0 to the last without a gap, are there. Saying it again returns the same job.

    A live sequence ends when all of them are published, with or without gaps.
    """
    if here.sequences.get(sequence).live:
        arrivals.complete(here.redis, sequence)
    job = here.queue.enqueue(sequence, (wish or SequenceComplete()).priority)
    response.headers["Location"] = f"/v1/jobs/{job.id}"
    return job
