"""The newest events of one sequence in memory. Their numbers are dense, so a number is a place."""

from typing import NamedTuple

KEEP = 5000
"""Events of little more than 1 KiB."""
SPARE = 500
PAGE = 500


class Told(NamedTuple):
    """An event: what kind it is, and how it is told to listeners."""

    type: str
    message: bytes


class Log:
    """Events from number `start` + 1 on. What is older than the newest `keep` is dropped now and then."""

    def __init__(self, start: int, keep: int = KEEP) -> None:
        self.start, self.era = start, 0
        self._keep = keep
        self._events: list[Told] = []

    @property
    def newest(self) -> int:
        """The number of the last event."""
        return self.start + len(self._events)

    def add(self, seq: int, event: Told) -> None:
        """Take the event with number `seq`; one that is there changes nothing, a gap forgets the rest."""
        if seq > self.newest + 1:
            self.restart(seq - 1)
        if seq == self.newest + 1:
            self._events.append(event)
        if len(self._events) >= self._keep + SPARE:
            self.start += SPARE
            del self._events[:SPARE]

    def restart(self, start: int) -> None:
        """Go on after number `start` with nothing before. A step back begins another `era`: numbers recur."""
        self.era += start < self.newest
        self.start, self._events = start, []

    def after(self, seq: int) -> list[Told] | None:
        """Up to 500 events later than number `seq`, none if there are none yet; None: they are gone."""
        place = seq - self.start
        return None if place < 0 else self._events[place : place + PAGE]
