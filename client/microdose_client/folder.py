"""A folder to which pictures are added while it is watched, in the order of their names.

    look ─► those not taken yet ─► in natural order, up to the first that is still being written

A picture is whole once its size and time have stood still for SETTLE_S. Hidden files, and those whose names
end in no picture's suffix, are somebody's work in progress: write `.a.png` or `a.png.part`, then rename it.
"""

import logging
import time
from collections.abc import Iterator, Mapping, Set
from contextlib import suppress
from itertools import takewhile
from os import scandir
from pathlib import Path
from typing import NamedTuple

from microdose.errors import BadUpload
from microdose.natural import natural_key
from microdose_client.push import is_picture

POLL_S = 0.1
SETTLE_S = 0.4

log = logging.getLogger(__name__)


class Stamp(NamedTuple):
    """What changes while a file is written."""

    size: int
    mtime_ns: int


class Arrivals:
    """Which pictures of a folder are whole and come next. No I/O, no clock."""

    def __init__(self, after: str | None = None) -> None:
        """Begins behind the name `after`."""
        self._after = None if after is None else _place(after)
        self._since: dict[str, tuple[Stamp, float]] = {}
        self._done: set[str] = set()
        self._begun = False

    def look(self, found: Mapping[str, Stamp], now: float) -> list[str]:
        """The names that are to be taken now, of what the folder holds at `now` (seconds, of any clock)."""
        self._done &= found.keys()
        self._leave_out(found.keys() - self._done)
        names = sorted(found.keys() - self._done, key=_place)
        self._since = {name: self._first_seen(name, found[name], now) for name in names}
        whole = list(takewhile(lambda name: now - self._since[name][1] >= SETTLE_S, names))
        self._done.update(whole)
        if whole:
            self._after = _place(whole[-1])
        return whole

    def _leave_out(self, names: Set[str]) -> None:
        """Those that come too late; at the first look, an earlier push has sent them."""
        late = [name for name in names if self._after is not None and _place(name) <= self._after]
        if late and self._begun:
            log.warning("left out, for later names have gone before: %s", ", ".join(sorted(late)))
        self._begun = True
        self._done.update(late)

    def _first_seen(self, name: str, stamp: Stamp, now: float) -> tuple[Stamp, float]:
        before = self._since.get(name)
        return before if before is not None and before[0] == stamp else (stamp, now)


def watch(folder: Path, after: str | None = None) -> Iterator[Path]:
    """The pictures of a folder and all that are added to it, for ever. Raises BadUpload."""
    arrivals = Arrivals(after)
    while True:
        for name in arrivals.look(_stamps(folder), time.monotonic()):
            yield folder / name
        time.sleep(POLL_S)


def _stamps(folder: Path) -> dict[str, Stamp]:
    """The pictures in a folder; an empty file is not there yet."""
    stamps: dict[str, Stamp] = {}
    try:
        with scandir(folder) as entries:
            for entry in entries:
                with suppress(FileNotFoundError):  # gone since
                    if is_picture(Path(entry.name)) and (found := entry.stat()).st_size:
                        stamps[entry.name] = Stamp(found.st_size, found.st_mtime_ns)
    except OSError as error:
        raise BadUpload(f"cannot watch {folder}: {error.strerror or error}") from error
    return stamps


def _place(name: str) -> tuple[tuple[tuple[int, int, str], ...], str]:
    return natural_key(name), name
