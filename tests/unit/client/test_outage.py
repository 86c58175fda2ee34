"""Lasting through an outage: what passes is waited out, what does not is raised at once."""

import asyncio
from collections.abc import Iterable

import pytest

from microdose.errors import BadUpload, Unavailable
from microdose.patience import Retry
from microdose.problem import ProblemError, make_problem
from microdose_client.outage import outlast

PATIENT = Retry(first_s=0.0)
AWAY = Unavailable("nobody is there")


def tries(outcomes: Iterable[Exception | int], retry: Retry = PATIENT) -> int:
    """What comes of work that meets these outcomes, one at each try."""
    left = iter(outcomes)

    async def work() -> int:
        outcome = next(left)
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return asyncio.run(outlast(retry, work))


def refusal(slug: str) -> ProblemError:
    return ProblemError(make_problem(slug, slug))


def test_it_ends_when_all_is_well(caplog: pytest.LogCaptureFixture) -> None:
    assert tries([AWAY, refusal("too-many-requests"), refusal("unavailable"), AWAY, 7]) == 7
    (record,) = caplog.records  # once for all
    assert record.getMessage() == "nobody is there; trying again for 300 s"


@pytest.mark.parametrize("slug", ["unauthorized", "conflict", "bad-picture", "no-space", "over-quota"])
def test_a_refusal_is_not_tried_again(slug: str) -> None:
    with pytest.raises(ProblemError, match=slug):
        tries([refusal(slug)])


def test_other_errors_are_not_its_business() -> None:
    with pytest.raises(BadUpload):
        tries([BadUpload("no picture")])


def test_an_outage_without_end_is_given_up() -> None:
    with pytest.raises(Unavailable, match="nothing new for"):
        tries([AWAY] * 3, Retry(first_s=0.0, outage_s=-1.0))
