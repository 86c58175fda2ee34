#!/usr/bin/env python
"""How long the teacher takes to encode a picture, stage by stage, and how much memory.

    picture --g_a--> y --h_a--> z --hyper-synthesis, entropy coding--> segment
                                                   '--> y_hat --g_s--> the teacher's picture
            analysis   hyper       coding                    painting

Painting is what a dose aims at. The first encode of a size pays for memory that later ones reuse and is not
counted; of the others the median counts.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder, EncodeTimings, load_encoder
from microdose_server.evaluate import program
from microdose_server.evaluate.machine import machine, peak_bytes
from microdose_server.evaluate.pictures import check_pictures, picture_files, read_pictures
from microdose_server.training.data import Pixels
from microdose_server.training.options import count, device
from microdose_server.training.peers import must_be_here


@dataclass(frozen=True)
class Row:
    """One picture: its size, its bytes and the median time of each stage."""

    name: str
    width: int
    height: int
    bytes: int
    timings: EncodeTimings

    @property
    def total_ms(self) -> float:
        """All stages."""
        return sum(self.timings)


def measure(encoder: Encoder, name: str, pixels: Pixels, rounds: int) -> Row:
    """Encode one picture `rounds` times, after once for nothing."""
    encoder.encode(pixels)
    encoded = [encoder.encode(pixels) for _ in range(rounds)]
    times = EncodeTimings(*(median(stage) for stage in zip(*(each.timings for each in encoded), strict=True)))
    height, width, _ = pixels.shape
    return Row(name, width, height, len(encoded[0].segment), times)


def figures(rows: Sequence[Row], device: str) -> dict[str, Any]:
    """What is quoted: milliseconds per megapixel, the stages' shares, and the peak memory of the device."""
    megapixels = sum(row.width * row.height for row in rows) / 1e6
    total = sum(row.total_ms for row in rows)
    stages = EncodeTimings(*(sum(stage) for stage in zip(*(row.timings for row in rows), strict=True)))
    return {
        "encode_ms_per_megapixel": total / megapixels,
        "share": {name.removesuffix("_ms"): time / total for name, time in stages._asdict().items()},
        "peak_mib": peak_bytes(device) / 2**20,
    }


def table(found: dict[str, Any]) -> str:
    """The figures, for people."""
    numbers = found["figures"]
    shares = "  ".join(f"{name} {share:.0%}" for name, share in numbers["share"].items())
    return (
        f"{numbers['encode_ms_per_megapixel']:.0f} ms per megapixel: {shares}\n"
        f"peak memory {numbers['peak_mib']:.0f} MiB, {len(found['rows'])} pictures"
    )


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Time the teacher's encoding of a folder of pictures, stage by stage.",
        "benchmarks/encode.py kodak/ --limit 4 --json > encode.json",
    )
    found.add_argument("folder", type=Path, metavar="DIR", help="pictures")
    found.add_argument("--limit", type=count, metavar="N", help="only the first N pictures by name")
    found.add_argument(
        "--rounds", type=count, default=3, metavar="N", help="times that each picture is encoded (default: 3)"
    )
    found.add_argument("--weights", type=Path, metavar="DIR", help="another teacher than the shipped one")
    found.add_argument("--device", type=device, default="cpu", help="where the teacher runs (default: cpu)")
    return found


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Measure the folder."""
    must_be_here(args.device)
    files = picture_files(args.folder, args.limit)
    check_pictures(files)
    encoder = load_encoder(args.device, args.weights)
    rows: list[Row] = []
    for name, pixels in read_pictures(files):
        progress(Step("encoding", len(rows), len(files), name))
        rows.append(measure(encoder, name, pixels, args.rounds))
    progress(Step("encoding", len(files), len(files)))
    return {
        "figures": figures(rows, args.device),
        "device": args.device,
        "machine": machine(),
        "rows": [
            {"name": row.name, "width": row.width, "height": row.height, "bytes": row.bytes}
            | row.timings._asdict()
            for row in rows
        ],
    }


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 with one line on stderr."""
    return program.perform("encode.py", parser().parse_args(argv), run, reporter(), table)


if __name__ == "__main__":
    sys.exit(main())
