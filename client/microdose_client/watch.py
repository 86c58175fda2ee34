"""What a viewer sees besides the pictures: rates, delay, and how the stream goes. No I/O."""

import statistics
from collections import deque
from dataclasses import dataclass
from typing import NamedTuple

from microdose_client.play import DecodedPicture

SPAN_S = 5.0
"""Rates are those of the last so many seconds."""


@dataclass(frozen=True)
class Reading:
    """How it goes. Rates are of the last seconds, counts of all; None where nothing is known yet."""

    n: int
    """Number of the newest picture."""
    epoch: int
    pictures: int
    """How many were shown."""
    missing: int
    """How many numbers were skipped between them."""
    fps: float | None
    kbit_s: float | None
    latency_ms: float | None
    """From publishing to having it decoded, by both clocks: median; of pictures that came while watching."""
    decode_ms: float
    """Decoding one picture: median."""

    def __str__(self) -> str:
        parts = [f"picture {self.n}", f"epoch {self.epoch}"]
        if self.fps is not None and self.kbit_s is not None:
            parts += [f"{self.fps:.1f} fps", f"{self.kbit_s:.0f} kbit/s"]
        if self.latency_ms is not None:
            parts.append(f"latency {self.latency_ms:.0f} ms")
        parts.append(f"decoding {self.decode_ms:.1f} ms")
        if self.missing:
            parts.append(f"{self.missing} missing")
        return ", ".join(parts)


class _Shown(NamedTuple):
    at: float
    size: int
    latency_s: float | None
    decode_ms: float


class Meter:
    """Measures pictures as they are shown; remembers those of the last seconds only."""

    def __init__(self) -> None:
        self._recent: deque[_Shown] = deque()
        self._pictures = self._missing = 0
        self._next: int | None = None

    def show(self, picture: DecodedPicture, now: float) -> Reading:
        """The reading with this picture, shown at `now` (seconds since 1970)."""
        self._pictures += 1
        self._missing += 0 if self._next is None else picture.n - self._next
        self._next = picture.n + 1
        latency_s = None if picture.published is None else now - picture.published
        self._recent.append(_Shown(now, picture.size, latency_s, picture.timings.total_ms))
        while self._recent[0].at < now - SPAN_S:
            self._recent.popleft()
        return self._reading(picture)

    def _reading(self, picture: DecodedPicture) -> Reading:
        recent = self._recent
        seconds = recent[-1].at - recent[0].at
        latencies = [shown.latency_s for shown in recent if shown.latency_s is not None]
        return Reading(
            n=picture.n,
            epoch=picture.epoch,
            pictures=self._pictures,
            missing=self._missing,
            fps=(len(recent) - 1) / seconds if seconds > 0 else None,
            kbit_s=sum(shown.size for shown in list(recent)[1:]) / 125 / seconds if seconds > 0 else None,
            latency_ms=1e3 * statistics.median(latencies) if latencies else None,
            decode_ms=statistics.median(shown.decode_ms for shown in recent),
        )
