"""Showing long work: a bar on a terminal, plain lines in a pipe, nothing when a machine reads.

The library reports `Step`s to any callable; only this module knows about rich.
"""

import math
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TextIO

from microdose_client.printable import printable


@dataclass(frozen=True)
class Step:
    """Where a piece of work stands: `done` of `total` units of `phase`, with an optional short remark."""

    phase: str
    done: int
    total: int
    note: str = ""


Report = Callable[[Step], None]


def seldom(report: Report, every_s: float = 1.0) -> Report:
    """The same, told at most once in `every_s` seconds: for work of which nobody knows how long it is."""
    last = -math.inf

    def tell(step: Step) -> None:
        nonlocal last
        if (now := time.monotonic()) - last >= every_s:
            last = now
            report(step)

    return tell


def silent(step: Step) -> None:
    """Report to nobody."""


class Lines:
    """Plain lines for pipes and logs: one at the start of a phase, then one for each tenth, never more."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._last: tuple[str, int] | None = None

    def __call__(self, step: Step) -> None:
        mark = (step.phase, 10 * step.done // max(step.total, 1))
        if mark != self._last:
            self._last = mark
            note = f" ({step.note})" if step.note else ""
            count = f"{step.done}/{step.total}" if step.total or not step.done else str(step.done)
            line = printable(f"{step.phase} {count}{note}")
            print(line, file=self._stream, flush=True)


@contextmanager
def _bars(stream: TextIO) -> Iterator[Report]:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeRemainingColumn

    columns = (
        TextColumn("{task.description:<12}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Progress(*columns, console=Console(file=stream)) as progress:
        tasks: dict[str, TaskID] = {}

        def show(step: Step) -> None:
            if step.phase not in tasks:
                tasks[step.phase] = progress.add_task(printable(step.phase), note="")
            note, task = printable(step.note), tasks[step.phase]
            progress.update(task, completed=step.done, total=step.total or None, note=note)

        yield show


@contextmanager
def reporter(quiet: bool = False, stream: TextIO | None = None) -> Iterator[Report]:
    """The reporter that suits `stream` (default: stderr, so that stdout stays clean for results)."""
    stream = stream or sys.stderr
    if quiet:
        yield silent
    elif stream.isatty():
        with _bars(stream) as report:
            yield report
    else:
        yield Lines(stream)
