#!/usr/bin/env python
"""Does any input break a reader or the API? Mutations of every format and request, counted.

Input number N of a seed is always the same, but for the ids that a request names. A process that reads has
4 GiB of address space. An answer of 500 or more is a crash, as is an API that has died or logged a trace.
The peak of memory is the largest of any reading process, or of the API. Exit code 1 if anything crashes or
hangs, or takes more than MOST_MB.
"""

import argparse
import sys
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.requests import Scene
from benchmarks.parts.stage import Stage, staged
from benchmarks.parts.watched import Batch, Found, watch
from microdose_client.progress import Report, Step, reporter
from microdose_server.evaluate import program
from microdose_server.evaluate.machine import machine
from microdose_server.training.options import count, none_or_more, positive

MOST_MB = 512


def batches(args: argparse.Namespace, scene: Scene) -> Iterator[Batch]:
    """The whole of the work, a part for one process at a time."""
    until = time.time() + 60 * args.minutes if args.minutes else float("inf")
    end = args.start + args.count
    for start in range(args.start, end, args.batch):
        yield Batch(args.seed, start, min(start + args.batch, end), scene, until)


def read(args: argparse.Namespace, stage: Stage, progress: Report) -> Found:
    """Read until the count or the time is reached, in `args.processes` processes at a time."""
    found = Found()
    with ThreadPoolExecutor(args.processes) as pool:
        for part in pool.map(watch, batches(args, stage.scene)):
            found.add(part)
            found.crashes += [{"seed": args.seed, "why": why} for why in stage.complaints()]
            progress(Step("reading", found.inputs, args.count))
    found.peak_mb = max(found.peak_mb, stage.peak_mb())
    return found


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Start what is read with, read, and count."""
    with staged() as stage:
        found = read(args, stage, progress)
    figures = {
        "inputs": found.inputs,
        "crashes": len(found.crashes),
        "hangs": len(found.hangs),
        "peak_mb": found.peak_mb,
    }
    return {**figures, "figures": figures, "broken": found.crashes + found.hangs, "machine": machine()}


def table(found: dict[str, Any]) -> str:
    """For people: the first of what broke, and the counts."""
    return "\n".join([*(str(each) for each in found["broken"][:20]), str(found["figures"])])


def is_good(found: dict[str, Any]) -> bool:
    """Whether nothing broke, in little memory."""
    return not found["broken"] and found["peak_mb"] <= MOST_MB


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = program.parser(
        "Read mutations of every format and of requests to a live API, and count what breaks.",
        "benchmarks/hostile.py --count 1000000 --json > hostile.json",
    )
    add = made.add_argument
    add("--count", type=count, default=1_000_000, metavar="N", help="inputs (default: 1000000)")
    add("--minutes", type=positive, metavar="M", help="end after this long, whatever the count")
    add("--seed", type=none_or_more, default=0, metavar="N", help="another seed, other inputs (default: 0)")
    add("--start", type=none_or_more, default=0, metavar="N", help="the first input (default: 0)")
    add("--processes", type=count, default=2, metavar="N", help="that read at a time (default: 2)")
    add("--batch", type=count, default=20_000, metavar="N", help="inputs of one process (default: 20000)")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 if anything broke or took too much memory."""
    return program.perform("hostile.py", parser().parse_args(argv), run, reporter(), table, good=is_good)


if __name__ == "__main__":
    sys.exit(main())
