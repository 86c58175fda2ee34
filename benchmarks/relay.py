#!/usr/bin/env python
"""What many viewers at another site cost their server, and what they wait for, with a relay in between.

    coded pictures --> Valkey, disk --> API --> nginx --> relay, its own disk --> nginx --> viewers

All are processes on loopback. For each number of viewers a live sequence is on the air; each viewer has a key
of its own, follows the events and fetches every segment. `p50_ms` and `p99_ms` are as in `fanout.py`: from
the time in the event to the segment's last byte. `asked_keys` and `asked` count what the API was asked in
that time, about keys and else; `fetched_bytes` is what the relay fetched of what had `sent_bytes`.
"""

import argparse
import sys
import tempfile
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import load_encoder
from microdose_server.descriptors import raise_limit
from microdose_server.evaluate import program
from microdose_server.evaluate.audience import DISTINCT, add_options, complete, paced, report, table
from microdose_server.evaluate.crowd import Crowd, Follow, crowd
from microdose_server.evaluate.fanout import Plant, address, coded
from microdose_server.evaluate.front import Behind, front
from microdose_server.evaluate.program import Found
from microdose_server.evaluate.serving import relaying
from microdose_server.evaluate.station import Station
from microdose_server.store.blobs import public_blobs

DOCKER = Path(__file__).parents[1] / "docker"


@dataclass(frozen=True)
class Figures:
    """For one number of viewers. lost, repeated: segments, of all viewers together."""

    viewers: int
    p50_ms: float
    p99_ms: float
    lost: int
    repeated: int
    asked_keys: int
    asked: int
    fetched_bytes: int
    sent_bytes: int


class Site:
    """Another site: a relay of the plant's server, with a door of its own."""

    def __init__(self, stack: ExitStack, plant: Plant, folder: Path) -> None:
        for each in (folder, folder / "door"):
            each.mkdir()
        (key,) = plant.keys(1)
        self.relay = stack.enter_context(relaying(folder, plant.door, key)).url
        behind = Behind(self.relay, folder / "relay")
        self.door = stack.enter_context(front(DOCKER, folder / "door", behind))


def counted(url: str) -> dict[str, float]:
    """What a server has counted: requests by operation, the rest by name."""
    found: dict[str, float] = {}
    for family in text_string_to_metric_families(httpx.get(f"{url}/metrics", timeout=30).text):
        for sample in family.samples:
            name = sample.labels.get("operation", "") or sample.name
            if sample.name.endswith("_total"):
                found[name] = found.get(name, 0) + sample.value
    return found


def measure(
    plant: Plant, site: Site, station: Station, viewers: Crowd, count: int, args: argparse.Namespace
) -> Figures:
    """A live sequence from its first picture to its end, as `count` viewers at the site saw it."""
    there, here = counted(plant.api), counted(site.relay)
    viewers.follow(Follow(*address(site.door), station.sequence, plant.keys(count)))
    for _ in paced(args.pictures, args.interval):
        station.show()
    station.end()
    seen = viewers.seen()
    more = {name: int(value - there.get(name, 0)) for name, value in counted(plant.api).items()}
    fetched = counted(site.relay)["microdose_fetched_bytes_total"] - here["microdose_fetched_bytes_total"]
    blobs = public_blobs(plant.settings.data_dir)
    return Figures(
        viewers=count,
        p50_ms=float(np.percentile(seen.delays_ms, 50)),
        p99_ms=float(np.percentile(seen.delays_ms, 99)),
        lost=sum(args.pictures - len(set(numbers)) for numbers in seen.numbers),
        repeated=sum(len(numbers) - len(set(numbers)) for numbers in seen.numbers),
        asked_keys=more.get("key-read", 0),
        asked=sum(more.get(name, 0) for name in ("manifest-read", "events-follow", "blobs-read")),
        fetched_bytes=int(fetched),
        sent_bytes=count * sum(map(blobs.size, station.blobs)),
    )


def run(args: argparse.Namespace, progress: Report) -> Found:
    """Every number of viewers in its turn."""
    raise_limit()
    encoder = load_encoder(student="live")
    width, height = args.size
    pictures = coded(encoder, width, height, DISTINCT * len(args.viewers))
    runs = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.folder)))
        plant = Plant(stack, folder, DOCKER)
        site = Site(stack, plant, folder / "site")
        viewers = stack.enter_context(crowd())
        for n, count in enumerate(args.viewers):
            progress(Step("broadcasting", n, len(args.viewers), f"to {count} viewers"))
            own = pictures[n * DISTINCT : (n + 1) * DISTINCT]  # the relay has none of them yet
            station = plant.on_the_air(encoder.base, own)
            runs.append(asdict(measure(plant, site, station, viewers, count, args)))
    return report(args, runs)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Measure what viewers of a relay wait for, and what they cost its upstream. Needs nginx.",
        "benchmarks/relay.py --viewers 1 100 1000 --json > relay.json",
    )
    add_options(found)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost or repeated; 1 if so, or if it could not be measured."""
    return program.perform("relay.py", parser().parse_args(arguments), run, reporter(), table, good=complete)


if __name__ == "__main__":
    sys.exit(main())
