"""Waiting for a job: one long poll after another until it has ended, each telling how far it is."""

import time

from microdose.errors import Unavailable
from microdose.resources import Job
from microdose_client.api import Api
from microdose_client.progress import Report, Step, silent

POLL_S = 2.0


async def wait_for(api: Api, job: str, timeout: float | None = None, progress: Report = silent) -> Job:
    """The job once it has ended, however it ended.

    Raises Unavailable if it has not ended after `timeout` seconds (None: wait for ever).
    """
    deadline = None if timeout is None else time.monotonic() + timeout
    while True:
        left = POLL_S if deadline is None else min(POLL_S, deadline - time.monotonic())
        state = await api.job(job, wait=max(left, 0.0))
        progress(step_of(state))
        if state.state.final:
            return state
        if left <= 0:
            raise Unavailable(
                f"job {job} is still {state.state} after {timeout:g} s; wait again, or cancel it"
            )


def step_of(job: Job) -> Step:
    """How far a job is, to be shown."""
    remarks = []
    if job.loss is not None:
        remarks.append(f"loss {job.loss:.4g}")
    if job.psnr is not None:
        remarks.append(f"{job.psnr:.2f} dB")
    if job.eta_s is not None:
        remarks.append(f"{job.eta_s:.0f} s left")
    return Step(job.phase or job.state, job.step, job.steps, ", ".join(remarks))
