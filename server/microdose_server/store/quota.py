"""What each API key holds, and may hold: sequences, and bytes of their frames until these are deleted.

Counted in the same transaction as what is counted, so that a count never drifts.
"""

from typing import Literal

import redis
from redis.client import Pipeline

from microdose import keys
from microdose.problem import ProblemError, make_problem
from microdose_server.settings import Limits

What = Literal["bytes", "sequences"]


def require(reader: redis.Redis, owner: str, what: What, more: int, limits: Limits) -> None:
    """Raise the problem over-quota unless a key may hold `more` of something.

    Its own quota counts before that of the limits. Only reads; a transaction watches `keys.api_usage(owner)`.
    """
    own = reader.hget(keys.api_key(owner), f"quota_{what}")
    most = int(own) if own not in (None, b"null") else getattr(limits, f"quota_{what}")
    if most is None or more <= 0:
        return
    held = int(reader.hget(keys.api_usage(owner), what) or 0)
    if held + more > most:
        detail = (
            f"key {owner} holds {held} {what} of {most}, and {more} more are sent; delete a sequence first"
        )
        raise ProblemError(make_problem("over-quota", detail))


def charge(pipeline: Pipeline, owner: str, *, byte_count: int = 0, sequences: int = 0) -> None:
    """Count what a key now holds more, or less; a part of the transaction of `pipeline`."""
    pipeline.hincrby(keys.api_usage(owner), "bytes", byte_count)
    pipeline.hincrby(keys.api_usage(owner), "sequences", sequences)
