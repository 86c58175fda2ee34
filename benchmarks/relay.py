"""What many viewers at another site cost their server, and what they wait for, with a relay in between.

    coded pictures --> Valkey, disk --> API --> nginx --> relay, its own disk --> nginx --> viewers

All are processes on loopback. For each number of viewers a live sequence is on the air; each viewer has a key
of its own, follows the events and fetches every segment. `p50_ms` and `p99_ms` are as in `fanout.py`: from
the time in the event to the segment's last byte. `asked_keys` and `asked` count what the API was asked in
that time, about keys and else; `fetched_bytes` is what the relay fetched of what had `sent_bytes`.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.fanout import DISTINCT, DOCKER, size, table
from microdose.errors import MicrodoseError
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.folder import load_base
from microdose_server.descriptors import raise_limit
from microdose_server.evaluate.crowd import Crowd, Follow, crowd
from microdose_server.evaluate.fanout import Plant, address, coded
from microdose_server.evaluate.front import Behind, front
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.serving import relaying
from microdose_server.evaluate.station import Station
from microdose_server.store.blobs import public_blobs


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
    begin = time.monotonic()
    for n in range(args.pictures):
        time.sleep(max(0.0, begin + n * args.interval - time.monotonic()))
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


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Everything, from the fewest viewers to the most."""
    raise_limit()
    base = load_base(student="live")
    width, height = args.size
    pictures = coded(base, width, height, DISTINCT * len(args.viewers))
    figures = []
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(dir=args.folder)))
        plant = Plant(stack, folder, DOCKER)
        site = Site(stack, plant, folder / "site")
        viewers = stack.enter_context(crowd())
        for n, count in enumerate(args.viewers):
            progress(Step("broadcasting", n, len(args.viewers), f"to {count} viewers"))
            own = pictures[n * DISTINCT : (n + 1) * DISTINCT]  # the relay has none of them yet
            station = plant.on_the_air(base, own)
            figures.append(asdict(measure(plant, site, station, viewers, count, args)))
    return {
        "figures": figures,
        "pictures": args.pictures,
        "interval_s": args.interval,
        "size": f"{width}x{height}",
        "machine": machine(),
    }


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description="Measure what viewers of a relay wait for, and what they cost its upstream. Needs nginx.",
        epilog="example: benchmarks/relay.py --viewers 1 100 1000 --json > relay.json",
    )
    add = found.add_argument
    add("--viewers", type=int, nargs="+", default=(1, 100, 1000), metavar="N", help="default: 1 100 1000")
    add("--pictures", type=int, default=40, metavar="N", help="of each sequence (default: 40)")
    add("--interval", type=float, default=1.0, metavar="S", help="between two of them (default: 1 s)")
    add("--size", type=size, default=(640, 360), metavar="WxH", help="of a picture (default: 640x360)")
    add("--folder", type=Path, help="for data and logs (default: a temporary one)")
    add("--json", action="store_true", help="print everything as JSON")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost or repeated; 1 if so, or if it could not be measured."""
    args = parser().parse_args(arguments)
    try:
        with reporter(quiet=args.json) as progress:
            found = run(args, progress)
    except MicrodoseError as error:
        print(f"relay.py: {error}", file=sys.stderr)
        return 1
    print(json.dumps(found, indent=2) if args.json else table(found))
    return int(any(each["lost"] or each["repeated"] for each in found["figures"]))


if __name__ == "__main__":
    raise SystemExit(main())
