#!/usr/bin/env python
"""How soon many viewers have what is published, and whether each has all of it, once.

    coded pictures --> Valkey, disk --> API --> nginx (the door of docker-compose.yml) --> viewers
                                                nginx, plain: the same blobs to anybody -->

Everything is a process of its own on loopback, viewers included. For each number of viewers a live sequence
is on the air. They follow it by server-sent events, each with a key of its own, and fetch every segment;
`p50_ms` and `p99_ms` go from the time in the event, which is just before it is published, to the segment's
last byte, hashed. Up to `REAL` real clients beside them decode, in this process: `join_ms_p50` is their time
from nothing, base included, to the first picture; `upgrade_ms_p50` from the announcement of a dose, right
before the epoch's first segment, to that segment's picture. Afterwards all viewers fetch those segments over
and over: `bytes_s` from the door, `ratio_nginx` is that over what the plain nginx gives.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from microdose_client import Client
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import load_encoder
from microdose_server.descriptors import raise_limit
from microdose_server.evaluate import program
from microdose_server.evaluate.audience import DISTINCT, add_options, complete, paced, report, table
from microdose_server.evaluate.crowd import Crowd, Follow, Seen, crowd
from microdose_server.evaluate.fanout import Plant, address, coded, throughput
from microdose_server.evaluate.program import Found
from microdose_server.evaluate.station import Station, made_up_dose
from microdose_server.training.options import positive

DOCKER = Path(__file__).parents[1] / "docker"
REAL = 3
"""Real clients beside the viewers, but never more of them."""
UPGRADES = 3


@dataclass(frozen=True)
class Real:
    """What a real client saw: how long it took to join, when each epoch began, which pictures came."""

    join_ms: float
    epochs: dict[int, float]
    numbers: list[int]


@dataclass(frozen=True)
class Figures:
    """For one number of viewers. lost, repeated: segments, of all viewers together."""

    viewers: int
    p50_ms: float
    p99_ms: float
    bytes_s: float
    ratio_nginx: float
    lost: int
    repeated: int
    join_ms_p50: float
    upgrade_ms_p50: float


def watch(server: str, key: str, sequence: str, cache: Path) -> Real:
    """Follow from the newest picture to the end, with a cache that is empty at first."""
    begin, join_ms = time.time(), 0.0
    epochs: dict[int, float] = {}
    numbers: list[int] = []
    with Client(server, key=key, cache_dir=cache) as client:
        for picture in client.follow(sequence, start=-1, threads=1):
            join_ms = join_ms or 1000 * (time.time() - begin)
            epochs.setdefault(picture.epoch, time.time())
            numbers.append(picture.n)
    return Real(join_ms, epochs, numbers)


def broadcast(
    plant: Plant, station: Station, viewers: Crowd, keys: list[str], args: argparse.Namespace
) -> tuple[Seen, list[Real]]:
    """A live sequence from its first picture to its end, as it was seen."""
    viewers.follow(Follow(*address(plant.door), station.sequence, keys))
    with ThreadPoolExecutor(REAL) as pool, tempfile.TemporaryDirectory() as caches:
        real = []
        for n in paced(args.pictures, args.interval):
            if n and n % -(-args.pictures // (UPGRADES + 1)) == 0:
                station.upgrade()
            station.show()
            if n == 0:
                for client, key in enumerate(plant.keys(min(REAL, len(keys)))):
                    cache = Path(caches) / str(client)
                    real.append(pool.submit(watch, plant.door, key, station.sequence, cache))
        station.end()
        return viewers.seen(), [each.result() for each in real]


def measure(plant: Plant, station: Station, viewers: Crowd, count: int, args: argparse.Namespace) -> Figures:
    """All figures for `count` viewers."""
    keys = plant.keys(count)
    seen, real = broadcast(plant, station, viewers, keys, args)
    door, bare = throughput(plant, viewers, keys, station.blobs, args.seconds)
    told = [*seen.numbers, *(each.numbers for each in real)]
    first = [0] * count + [min(each.numbers) for each in real]
    upgrades = [
        1000 * (each.epochs[epoch] - announced)
        for epoch, announced in station.announced.items()
        for each in real
        if epoch in each.epochs
    ]
    return Figures(
        viewers=count,
        p50_ms=float(np.percentile(seen.delays_ms, 50)),
        p99_ms=float(np.percentile(seen.delays_ms, 99)),
        bytes_s=door,
        ratio_nginx=door / bare,
        lost=sum(args.pictures - n - len(set(numbers)) for n, numbers in zip(first, told, strict=True)),
        repeated=sum(len(numbers) - len(set(numbers)) for numbers in told),
        join_ms_p50=float(np.median([each.join_ms for each in real])),
        upgrade_ms_p50=float(np.median(upgrades)),
    )


def run(args: argparse.Namespace, progress: Report) -> Found:
    """Every number of viewers in its turn."""
    raise_limit()
    encoder = load_encoder(student="live")
    width, height = args.size
    pictures = coded(encoder, width, height, DISTINCT)
    runs = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.folder)))
        plant = Plant(stack, folder, DOCKER)
        viewers = stack.enter_context(crowd())
        for n, count in enumerate(args.viewers):
            progress(Step("broadcasting", n, len(args.viewers), f"to {count} viewers"))
            station = plant.on_the_air(encoder.base, pictures)
            runs.append(asdict(measure(plant, station, viewers, count, args)))
    return report(args, runs) | {
        "segment_bytes": float(np.mean([len(picture) for picture in pictures])),
        "dose_bytes": len(made_up_dose(encoder.base, 1)),
    }


def keep(args: argparse.Namespace, found: Found) -> None:
    """Draw the plot, if one is wanted."""
    if args.output:
        plot(found["runs"], args.output)


def plot(runs: Sequence[Found], file: Path) -> None:
    """A PNG: delay by the number of viewers."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7, 4.5), layout="constrained")
    panel = figure.subplots()
    viewers = [each["viewers"] for each in runs]
    for name, label in (("p50_ms", "half of all segments"), ("p99_ms", "99 % of all segments")):
        panel.plot(viewers, [each[name] for each in runs], "o-", label=label)
    panel.set(xscale="log", yscale="log", xlabel="viewers", ylabel="from publication to viewer, ms")
    panel.grid(alpha=0.3)
    panel.legend()
    figure.savefig(file, dpi=120)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Measure how soon, how fast and how completely viewers get a live sequence. Needs nginx.",
        "benchmarks/fanout.py --viewers 1 100 1000 --output fanout.png --json > fanout.json",
    )
    add_options(found)
    found.add_argument(
        "--seconds", type=positive, default=6.0, metavar="S", help="to fetch from each server (default: 6)"
    )
    found.add_argument("--output", type=program.png, metavar="PNG", help="plot the delays")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost or repeated; 1 if so, or if it could not be measured."""
    return program.perform(
        "fanout.py", parser().parse_args(arguments), run, reporter(), table, keep=keep, good=complete
    )


if __name__ == "__main__":
    sys.exit(main())
