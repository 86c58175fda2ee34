"""Waiting for a job: it asks again until the job has ended, and tells how far it is."""

import asyncio
from datetime import UTC, datetime

import pytest

from microdose.errors import Unavailable
from microdose.ids import new_id
from microdose.resources import Job, JobState
from microdose_client.api import Api
from microdose_client.http import Http
from microdose_client.progress import Step
from microdose_client.waiting import step_of, wait_for
from tests.loopback import Loopback, Request, json_reply

JOB = Job(id=new_id(), sequence=new_id(), state=JobState.QUEUED, created=datetime.now(UTC))
STATES = (
    JOB,
    JOB.model_copy(update={"state": JobState.RUNNING, "phase": "distil", "step": 3, "steps": 9}),
    JOB.model_copy(update={"state": JobState.SUCCEEDED}),
)


def wait(states: tuple[Job, ...], timeout: float | None) -> tuple[Job, list[Step], list[Request]]:
    """Wait for a job that has these states, one for each time it is asked for."""
    told: list[Step] = []
    answers = iter(states)

    async def main() -> Job:
        api = Api(Http(loopback.url))
        try:
            return await wait_for(api, JOB.id, timeout, told.append)
        finally:
            await api.close()

    with Loopback(lambda request: json_reply(next(answers).model_dump(mode="json"))) as loopback:
        return asyncio.run(main()), told, loopback.requests


def test_it_asks_until_the_job_has_ended() -> None:
    job, told, requests = wait(STATES, timeout=None)
    assert job == STATES[-1]
    assert [step.phase for step in told] == ["queued", "distil", "succeeded"]
    assert [request.path for request in requests] == [f"/v1/jobs/{JOB.id}?wait=2"] * 3


def test_it_does_not_wait_for_longer_than_it_may() -> None:
    with pytest.raises(Unavailable, match="is still queued after 0 s"):
        wait(STATES[:1], timeout=0)


def test_a_step_says_all_that_is_known() -> None:
    known = STATES[1].model_copy(update={"loss": 0.12345, "psnr": 30.0, "eta_s": 7.6})
    assert step_of(known) == Step("distil", 3, 9, "loss 0.1235, 30.00 dB, 8 s left")
    assert step_of(JOB) == Step("queued", 0, 0)
