"""Lasting through an outage: pause, try again, and give up once it has lasted too long."""

import logging
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from microdose.errors import Unavailable
from microdose.patience import Retry
from microdose.problem import ProblemError
from microdose_client.http import FULL

log = logging.getLogger(__name__)
T = TypeVar("T")


class Trouble:
    """One kind of trouble: how often in a row, since when, and when it is enough."""

    def __init__(self, retry: Retry) -> None:
        self._retry, self.tries, self._since = retry, 0, 0.0

    def over(self) -> None:
        """All is well."""
        self.tries = 0

    async def rest(self, reason: Exception | str) -> None:
        """Pause before the next try. Raises Unavailable once this has lasted for `Retry.outage_s`."""
        now = time.monotonic()
        if self.tries == 0:
            self._since = now
        self.tries += 1
        if now - self._since > self._retry.outage_s:
            raise Unavailable(f"nothing new for {now - self._since:.0f} s: {reason}")
        log.info("%s; try %d", reason, self.tries)
        await self._retry.pause(self.tries)


async def outlast(retry: Retry, work: Callable[[], Awaitable[T]]) -> T:
    """What `work` returns, which may be done again, once nothing stands in its way.

    Raises what will not pass, and Unavailable after an outage of `Retry.outage_s`.
    """
    trouble = Trouble(retry)
    while True:
        try:
            return await work()
        except (Unavailable, ProblemError) as error:
            if not may_pass(error):
                raise
            if trouble.tries == 0:
                log.warning("%s; trying again for %g s", error, retry.outage_s)
            await trouble.rest(error)


def may_pass(error: Unavailable | ProblemError) -> bool:
    """Whether waiting helps: not with a refusal, nor with a full disk or a used-up quota."""
    if isinstance(error, ProblemError):
        return error.problem.status == 429 or (error.problem.status >= 500 and error.problem.status != FULL)
    return True
