import errno

import pytest
import redis

from microdose.errors import BadPicture
from microdose_server.jobs.attempt import problem_from


class OutOfMemoryError(RuntimeError):
    """As torch's."""


@pytest.mark.parametrize(
    ("error", "slug"),
    [
        (BadPicture("frame 3: truncated"), "bad-picture"),
        (MemoryError("2 GiB"), "job-out-of-memory"),
        (OutOfMemoryError("CUDA out of memory"), "job-out-of-memory"),
        (redis.OutOfMemoryError("command not allowed when used memory > 'maxmemory'"), "unavailable"),
        (OSError(errno.ENOSPC, "No space left on device"), "no-space"),
        (OSError(errno.EACCES, "Permission denied"), "internal"),
        (ZeroDivisionError("secret path"), "internal"),
    ],
)
def test_each_error_has_its_reason(error: Exception, slug: str) -> None:
    assert problem_from(error).slug == slug


def test_what_went_wrong_inside_is_not_told_outside() -> None:
    assert "secret" not in (problem_from(ZeroDivisionError("secret path")).detail or "")
