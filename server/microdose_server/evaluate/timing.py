"""Timing decoders against each other in one process.

They take turns, a few decodes in a row each: the machine's moods then meet all of them, and another's idle
threads have gone to sleep after the first decode of a row. A synthesis in parts is such another: it has its
own threads, and a turn of its own. The least time of every stage counts.
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
    synthesis_ms: float | None
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


def parts_alone(paint: Chain, y_hat: Floats) -> Decode:
    """The parts of a synthesis that is timed elsewhere."""
    return lambda: Stages(None, None, None, *paint(y_hat)[1])


def in_parts(paint: Chain, y_hat: Floats) -> Decode:
    """From y_hat to pixels, in parts alone."""

    def decode() -> Stages:
        begin = perf_counter()
        x_hat, times = paint(y_hat)
        to_pixels(x_hat)
        return Stages(None, None, 1e3 * (perf_counter() - begin), *times)

    return decode


def take_turns(decoders: Mapping[str, Sequence[Decode]], rounds: int) -> dict[str, list[Stages]]:
    """Every decode of every decoder: `rounds` turns for each of its ways, fewer where patience ends."""
    found: dict[str, list[Stages]] = {name: [] for name in decoders}
    ways = [(name, decode) for name, decodes in decoders.items() for decode in decodes]
    runs, spent = [0] * len(ways), [0.0] * len(ways)
    for _ in range(rounds):
        for way, (name, decode) in enumerate(ways):
            for _ in range(IN_A_ROW):
                if runs[way] < 2 or spent[way] < PATIENCE_S:
                    begin = perf_counter()
                    found[name].append(decode())
                    runs[way], spent[way] = runs[way] + 1, spent[way] + perf_counter() - begin
    return found


def best(decodes: Sequence[Stages]) -> Stages:
    """The least time of every stage."""
    return Stages(*map(_least, zip(*decodes, strict=True)))


def _least(times: Sequence[float | None]) -> float | None:
    return min((time for time in times if time is not None), default=None)
