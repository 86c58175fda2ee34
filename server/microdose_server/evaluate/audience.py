"""What benchmarks with viewers have in common: options, the pace of a broadcast, and how they report."""

import argparse
import time
from collections.abc import Iterator, Sequence

from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.program import Found, folder, several, size
from microdose_server.training.options import count, weight

DISTINCT = 16
"""Pictures that are coded; they come again in the next epoch, as other bytes."""


def add_options(parser: argparse.ArgumentParser) -> None:
    """How many viewers, and what they watch."""
    add = parser.add_argument
    add("--viewers", type=count, nargs="+", default=(1, 100, 1000), metavar="N", help="default: 1 100 1000")
    add("--pictures", type=several, default=40, metavar="N", help="of each sequence (default: 40)")
    add("--interval", type=weight, default=1.0, metavar="S", help="between two of them (default: 1 s)")
    add("--size", type=size, default=(640, 360), metavar="WxH", help="of a picture (default: 640x360)")
    add("--folder", type=folder, metavar="DIR", help="for data and logs (default: a temporary one)")


def paced(number: int, interval_s: float) -> Iterator[int]:
    """0 to number - 1, each when its time has come."""
    begin = time.monotonic()
    for n in range(number):
        time.sleep(max(0.0, begin + n * interval_s - time.monotonic()))
        yield n


def report(args: argparse.Namespace, runs: Sequence[Found]) -> Found:
    """Everything, ready for JSON: a run for each number of viewers, `figures` being those of the most."""
    width, height = args.size
    return {
        "figures": max(runs, key=lambda run: run["viewers"]),
        "runs": runs,
        "pictures": args.pictures,
        "interval_s": args.interval,
        "size": f"{width}x{height}",
        "machine": machine(),
    }


def table(found: Found) -> str:
    """For people: a column for each number of viewers."""
    rows = ("".join(f"{run[name]:14.6g}" for run in found["runs"]) for name in found["figures"])
    return "\n".join(f"{name:15}{row}" for name, row in zip(found["figures"], rows, strict=True))


def complete(found: Found) -> bool:
    """Whether every viewer had every segment once."""
    return not any(run["lost"] or run["repeated"] for run in found["runs"])
