"""Timing decoders against each other in one process.

They take turns, a few decodes in a row each: the machine's moods then meet all of them, and another's idle
threads have gone to sleep after the first decode of a row. The least time of every stage counts.
"""

from collections.abc import Callable, Mapping, Sequence
from time import perf_counter
from typing import NamedTuple

from microdose.decoder import Decoder, to_pixels
from microdose.latents import Floats
from microdose_server.evaluate.engines import Paint
from microdose_server.evaluate.parts import PartTimes

IN_A_ROW = 3
PATIENCE_S = 30.0
"""A decoder that has run twice, and for this long in all, is not run again."""


class Stages(NamedTuple):
    """Milliseconds of a decode; None for a stage that was not run.

    Synthesis is everything from y_hat to 8-bit pixels. Its parts are timed in a decode of their own.
    """

    entropy_ms: float | None
    hyper_ms: float | None
    synthesis_ms: float
    head_ms: float | None = None
    micro_ms: float | None = None
    tail_ms: float | None = None

    @property
    def total_ms(self) -> float:
        """All stages that were run."""
        return sum(stage for stage in self[:3] if stage is not None)


Decode = Callable[[], Stages]
Chain = Callable[[Floats], tuple[Floats, PartTimes]]


def whole(decoder: Decoder, segment: bytes) -> Decode:
    """A decode as viewers run it."""

    def decode() -> Stages:
        timings = decoder.decode(segment).timings
        return Stages(timings.entropy_ms, timings.hyper_ms, timings.synthesis_ms)

    return decode


def synthesis(paint: Paint, y_hat: Floats) -> Decode:
    """From y_hat to pixels alone."""

    def decode() -> Stages:
        begin = perf_counter()
        to_pixels(paint(y_hat))
        return Stages(None, None, 1e3 * (perf_counter() - begin))

    return decode


def with_parts(decode: Decode, paint: Chain, y_hat: Floats) -> Decode:
    """A decode, and then its synthesis once more in parts."""

    def both() -> Stages:
        return Stages(*decode()[:3], *paint(y_hat)[1])

    return both


def in_parts(paint: Chain, y_hat: Floats) -> Decode:
    """From y_hat to pixels, in parts alone."""

    def decode() -> Stages:
        begin = perf_counter()
        x_hat, times = paint(y_hat)
        to_pixels(x_hat)
        return Stages(None, None, 1e3 * (perf_counter() - begin), *times)

    return decode


def take_turns(decoders: Mapping[str, Decode], rounds: int) -> dict[str, list[Stages]]:
    """Every decode of every decoder: `rounds` turns each, fewer where patience ends."""
    found: dict[str, list[Stages]] = {name: [] for name in decoders}
    for _ in range(rounds):
        for name, decode in decoders.items():
            done = found[name]
            for _ in range(IN_A_ROW):
                if len(done) < 2 or sum(each.total_ms for each in done) < 1e3 * PATIENCE_S:
                    done.append(decode())
    return found


def best(decodes: Sequence[Stages]) -> Stages:
    """The least time of every stage."""
    entropy, hyper, painting, *parts = zip(*decodes, strict=True)
    return Stages(_least(entropy), _least(hyper), min(painting), *map(_least, parts))


def _least(times: Sequence[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)
