import errno
import os
from collections.abc import Callable

import pytest
import redis

from microdose.errors import BadPicture, NoSpace, NotReproducible, Unavailable
from microdose.resources import Job, JobState
from microdose_server.jobs import outcome
from microdose_server.jobs.attempt import Assignment, make_attempt, problem_from
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.records import Jobs


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (BadPicture("frame 3: truncated"), "bad-picture"),
        (MemoryError("2 GiB"), "job-out-of-memory"),
        (OutOfMemoryError("CUDA out of memory"), "job-out-of-memory"),
        (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), "unavailable"),
        (NoSpace("/data has 1 bytes free"), "no-space"),
        (OSError(errno.ENOSPC, "No space left on device"), "no-space"),
        (OSError(errno.EACCES, "Permission denied"), "internal"),
        (ZeroDivisionError("secret path"), "internal"),
    ],
)
def test_each_error_has_its_reason(error: Exception, slug: str) -> None:
    assert problem_from(error).slug == slug


def test_what_went_wrong_inside_is_not_told_outside() -> None:
    assert "secret" not in (problem_from(ZeroDivisionError("secret path")).detail or "")


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Unavailable("the API is away"), JobState.QUEUED),
        (redis.OutOfMemoryError("command not allowed"), JobState.QUEUED),
        (NotReproducible("picture 0 decodes 9 grey levels wrong; try another worker"), JobState.QUEUED),
        (BadPicture("frame 3: truncated"), JobState.FAILED),
        (NoSpace("/data has 1 bytes free"), JobState.FAILED),
    ],
)
def test_what_another_attempt_need_not_meet_is_tried_again(
    bus: redis.Redis,
    redis_url: str,
    enqueue: Callable[[], Job],
    monkeypatch: pytest.MonkeyPatch,
    error: Exception,
    state: JobState,
) -> None:
    monkeypatch.setenv("MICRODOSE_REDIS_URL", redis_url)
    job = enqueue()
    begun = outcome.begin(bus, job)
    assert begun is not None

    def body(given: Assignment) -> None:
        raise error

    token = begun[1].token
    make_attempt(Errand(work="", job=job.id, sequence=job.sequence, token=token, parent=os.getpid()), body)
    assert Jobs(bus).get(job.id).state == state
