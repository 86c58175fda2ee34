"""Small answers of the upstream, each asked for once at a time and kept for a while.

fresh: served as it is     in grace: the same, and asked for again     older: asked for first
upstream away: served until it is `stale_s` old, then an error

That something is not there is an answer too. That a key is refused ends what was kept of it and is not kept
itself: strangers who guess must not push out what is known of viewers.
"""

import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from copy import copy
from dataclasses import dataclass
from functools import partial
from typing import Generic, TypeVar

from microdose.errors import BadUpstream, NotFound, Unavailable
from microdose.problem import ProblemError
from microdose_server.relay.flights import Flights

STALE_S = 600.0
"""For how long a relay goes on with what it knows when its upstream is away."""

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


@dataclass(frozen=True)
class Policy:
    """For how many seconds an answer is fresh, then in grace, and good where no newer one can be had; and how
    much is kept, an answer that there is nothing being `nothing` of it.
    """

    fresh_s: float
    most: int
    nothing: int = 1
    grace_s: float = 0.0
    stale_s: float = STALE_S
    clock: Callable[[], float] = time.monotonic


@dataclass(frozen=True)
class _Answer(Generic[V]):
    outcome: V | NotFound
    asked: float
    given: float
    weight: int

    @property
    def value(self) -> V | None:
        return None if isinstance(self.outcome, NotFound) else self.outcome

    def open(self) -> V:
        if isinstance(self.outcome, NotFound):
            raise copy(self.outcome)  # what is raised holds on to all that it passes through
        return self.outcome


class Kept(Generic[K, V]):
    """Answers of one kind, those used last up to a total weight of `Policy.most`."""

    def __init__(self, flights: Flights, policy: Policy, weigh: Callable[[V], int] = lambda value: 1) -> None:
        self._flights, self._policy, self._weigh = flights, policy, weigh
        self._answers: OrderedDict[K, _Answer[V]] = OrderedDict()
        self._weight = 0

    async def get(
        self,
        name: K,
        ask: Callable[[V | None], Awaitable[V]],
        enough: Callable[[V | None], bool] = lambda value: True,
    ) -> V:
        """The answer called `name`: as it is kept, if it is fresh and `enough`, or from `ask`.

        `ask` is given the value that is kept; so is `enough`, or None where there is nothing. Raises
        NotFound, or what `ask` does.
        """
        known, flight = self._answers.get(name), (id(self), name)
        work = partial(self._ask, name, ask)
        for _ in range(2):  # what is under way may have been asked for before there was enough
            if known is not None and enough(known.value) and self._is_good(known):
                if not self._is_fresh(known):
                    self._flights.begin(flight, work)
                break
            joined = flight in self._flights
            known = await self._flights.join(flight, work)
            if not joined:
                break
        assert known is not None
        if name in self._answers:
            self._answers.move_to_end(name)
        return known.open()

    def _is_fresh(self, answer: _Answer[V]) -> bool:
        return self._policy.clock() - answer.asked < self._policy.fresh_s

    def _is_good(self, answer: _Answer[V]) -> bool:
        return self._policy.clock() - answer.asked < self._policy.fresh_s + self._policy.grace_s

    async def _ask(self, name: K, ask: Callable[[V | None], Awaitable[V]]) -> _Answer[V]:
        old, clock = self._answers.get(name), self._policy.clock
        asked = clock()
        try:
            value = await ask(old.value if old else None)
            answer = _Answer[V](value, asked, asked, self._weigh(value))
        except NotFound as absent:
            answer = _Answer[V](copy(absent), asked, asked, self._policy.nothing)
        except ProblemError:
            self._forget(name)
            raise
        except (Unavailable, BadUpstream):
            if old is None or clock() - old.given > self._policy.stale_s:
                raise
            answer = _Answer(old.outcome, clock(), old.given, old.weight)
        self._keep(name, answer)
        return answer

    def _keep(self, name: K, answer: _Answer[V]) -> None:
        self._forget(name)
        self._answers[name] = answer
        self._weight += answer.weight
        while self._weight > self._policy.most:
            self._weight -= self._answers.popitem(last=False)[1].weight

    def _forget(self, name: K) -> None:
        if old := self._answers.pop(name, None):
            self._weight -= old.weight
