"""How long to wait for an answer, how often to ask again, and how long to rest in between.

Exponential back-off with full jitter: the pause after try k is drawn from [0, first_s * 2**k], so that many
clients cut off by the same outage do not return in step. Pure arithmetic plus two injectable functions.
"""

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Timeouts:
    """Seconds: to connect, between two pieces of a transfer, for one whole answer, and of an event stream
    that says nothing, not even the ping that a server sends every 15 s.
    """

    connect: float = 5.0
    read: float = 30.0
    total: float = 300.0
    silence: float = 40.0


@dataclass(frozen=True)
class Retry:
    """A policy: at most `attempts` tries; pauses in seconds, doubling from `first_s`, never above `cap_s`.

    Who follows a live sequence is more patient: it tries until nothing was heard for `outage_s`.
    """

    attempts: int = 5
    first_s: float = 0.25
    cap_s: float = 20.0
    outage_s: float = 300.0
    sleep: Callable[[float], Awaitable[None]] = asyncio.sleep
    draw: Callable[[], float] = random.random

    async def pause(self, attempt: int, asked_s: float | None = None) -> None:
        """Sleep after failed try `attempt` (from 1): at least `asked_s` (a Retry-After), at most the cap."""
        backoff = self.draw() * self.first_s * 2.0 ** min(attempt, 60)
        await self.sleep(min(self.cap_s, max(backoff, asked_s or 0.0)))


TIMEOUTS = Timeouts()
RETRY = Retry()


def retry_after(header: str | None) -> float | None:
    """Seconds of a Retry-After header (RFC 9110); None if absent, or a date, which our server never sends."""
    if header is None or not re.fullmatch(r"[0-9]{1,6}", header):
        return None
    return float(header)
