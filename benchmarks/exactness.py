#!/usr/bin/env python
"""Do other machines decode the same? Real pictures, coded once, decoded under every condition at hand.

    pictures -> Encoder -> segments, and what must come out of them: table numbers, y_hat, pixels
                    | published on loopback: the real API, a real Valkey
    a fresh process for each of onnxruntime with and without its graph optimisations, torch in float32 and
    in float64, with 1 and 2 threads; torch also with its instruction sets capped
                    | base and segments fetched by the client over HTTP, and again straight from Redis
    every table number and every value of y_hat compared bit by bit, every pixel in units of 1/255

The numbers themselves are compared, not the 4-byte hash over them; a symbol differs if its value in y_hat
does. onnxruntime takes its kernels from the processor and cannot be capped. Exit code 1 if a table number or
a symbol differs, or a pixel by more than 1/255.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from microdose import entropy
from microdose.base import LoadedBase
from microdose.decoder import Decoder, to_pixels
from microdose.engine import Graph, hyper_from
from microdose.errors import CorruptStream, MicrodoseError
from microdose.latents import Floats, decode_hyper, predict
from microdose.mds import Mds
from microdose.segment import parse_segment
from microdose_client import Client
from microdose_client.progress import Report, Step, reporter
from microdose_server.codec.encode import Encoder, load_encoder
from microdose_server.evaluate import program
from microdose_server.evaluate.compare import base_of
from microdose_server.evaluate.engines import ENGINES, Networks
from microdose_server.evaluate.loopback import Published, published
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.pictures import check_pictures, picture_files, read_pictures
from microdose_server.training.data import Pixels
from microdose_server.training.options import count

THREADS = (1, 2)
TRANSPORTS = ("http", "redis")
CAPS: tuple[dict[str, str], ...] = (
    {},
    {"ONEDNN_MAX_CPU_ISA": "SSE41"},
    {"ATEN_CPU_CAPABILITY": "default", "MKL_CBWR": "COMPATIBLE"},
)
MOST_PIXEL_DIFFERENCE = 1
PUBLISHED = "EXACTNESS_PUBLISHED"
"""Environment variable: where a process finds the sequence, as JSON."""


@dataclass(frozen=True)
class Condition:
    """How to decode: the engine, its threads, and what caps it."""

    engine: str
    threads: int
    environment: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Golden:
    """A coded picture and what must come out of it: table numbers, y_hat (each [C, h, w]) and pixels."""

    segment: bytes
    index: NDArray[np.uint8]
    y_hat: Floats
    pixels: Pixels


@dataclass(frozen=True)
class Tally:
    """What was compared and how much of it differed; `max_pixel_difference` in 1/255. Tallies add up."""

    symbols: int = 0
    differing: int = 0
    index_mismatches: int = 0
    pixel_values: int = 0
    pixel_values_differing: int = 0
    max_pixel_difference: int = 0

    def __add__(self, other: "Tally") -> "Tally":
        sums = {name: number + getattr(other, name) for name, number in asdict(self).items()}
        most = max(self.max_pixel_difference, other.max_pixel_difference)
        return Tally(**sums | {"max_pixel_difference": most})

    @property
    def good(self) -> bool:
        """Whether everything is as promised."""
        return self.differing == self.index_mismatches == 0 and (
            self.max_pixel_difference <= MOST_PIXEL_DIFFERENCE
        )


def conditions() -> list[Condition]:
    """Every engine at every thread count, those of torch under every cap as well."""
    return [
        Condition(engine, threads, cap)
        for engine in ENGINES
        for threads in THREADS
        for cap in (CAPS if engine.startswith("torch") else CAPS[:1])
    ]


def golden(encoder: Encoder, pixels: Pixels) -> Golden:
    """Code a picture. Table numbers and y_hat are the encoder's, pixels the client's."""
    encoded, base = encoder.encode(pixels), encoder.base
    header = parse_segment(encoded.segment).header
    z = decode_hyper(parse_segment(encoded.segment), base)
    index, _ = predict(z, header.latent_size, base.document, hyper_from(Graph(base.hyper)))
    shown = Decoder(base, threads=1).decode(encoded.segment).pixels
    return Golden(encoded.segment, index, encoded.y_hat, shown)


def compare(base: LoadedBase, networks: Networks, expected: Golden) -> Tally:
    """Decode one picture and count. Where wrong tables make it undecodable, all its symbols differ."""
    parsed = parse_segment(expected.segment)
    index, mean = predict(
        decode_hyper(parsed, base), parsed.header.latent_size, base.document, networks.hyper
    )
    mismatches = int(np.count_nonzero(index != expected.index))
    try:
        symbols = entropy.decode(parsed.latents, index.ravel(), base.document.tables.y)
    except CorruptStream:
        return Tally(index.size, index.size, mismatches)
    y_hat = symbols.reshape(index.shape).astype(np.float32) + mean
    x_hat = networks.paint(y_hat)[:, : parsed.header.height, : parsed.header.width]
    distance = np.abs(to_pixels(x_hat).astype(np.int16) - expected.pixels)
    return Tally(
        symbols=index.size,
        differing=int(np.count_nonzero(y_hat != expected.y_hat)),
        index_mismatches=mismatches,
        pixel_values=distance.size,
        pixel_values_differing=int(np.count_nonzero(distance)),
        max_pixel_difference=int(distance.max()),
    )


def save(expected: Golden, file: Path) -> None:
    """Keep a coded picture for the processes that decode it."""
    segment = np.frombuffer(expected.segment, np.uint8)
    np.savez(file, segment=segment, index=expected.index, y_hat=expected.y_hat, pixels=expected.pixels)


def load(file: Path) -> Golden:
    """What `save` wrote."""
    with np.load(file) as arrays:
        segment = arrays["segment"].tobytes()
        return Golden(segment, arrays["index"], arrays["y_hat"], arrays["pixels"])


def fetch(here: Published, transport: str, folder: Path) -> Mds:
    """The whole sequence, as a client gets it."""
    http, cache = transport == "http", folder / "cache"
    server, bus = (here.server, None) if http else (None, here.redis)
    with Client(server, redis=bus, key=here.key, cache_dir=cache) as client:
        client.export(here.sequence, folder / "fetched.mds")
    return Mds.open((folder / "fetched.mds").read_bytes())


def decode_here(folder: Path, here: Published, engine: str, threads: int) -> list[dict[str, Any]]:
    """What a process does under its condition: every picture of the folder, one tally for each transport."""
    rows = []
    for transport in TRANSPORTS:
        with tempfile.TemporaryDirectory() as name:
            fetched = fetch(here, transport, Path(name))
        base = base_of(fetched)
        networks, found = ENGINES[engine](base, threads), Tally()
        for entry, file in zip(fetched.manifest.segments, sorted(folder.glob("*.npz")), strict=True):
            expected = replace(load(file), segment=fetched.blob(entry.blob.digest))
            found += compare(base, networks, expected)
        aten = torch.backends.cpu.get_cpu_capability()
        rows.append({"transport": transport, "aten": aten, **asdict(found)})
    return rows


def decode_apart(folder: Path, here: Published, condition: Condition) -> list[dict[str, Any]]:
    """The same in a fresh process. Raises MicrodoseError if it fails."""
    command = [sys.executable, str(Path(__file__).resolve()), str(folder), "--engine", condition.engine]
    command += ["--threads", str(condition.threads)]
    path = os.pathsep.join(filter(None, sys.path))
    environment = os.environ | {"OMP_NUM_THREADS": str(condition.threads), "PYTHONPATH": path}
    environment |= {PUBLISHED: json.dumps(asdict(here))} | condition.environment
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    if done.returncode:
        raise MicrodoseError(f"decoding under {condition} failed: {done.stderr.strip()[-500:]}")
    return [asdict(condition) | row for row in json.loads(done.stdout)]


def report(rows: Sequence[dict[str, Any]], pictures: int) -> dict[str, Any]:
    """All conditions, and their sum on top."""
    tallies = [Tally(**{name: row[name] for name in asdict(Tally())}) for row in rows]
    figures = asdict(sum(tallies, Tally()))
    return {
        **figures,
        "figures": figures,
        "pictures": pictures,
        "conditions": list(rows),
        "machine": machine(),
    }


def table(found: dict[str, Any]) -> str:
    """One line per condition, for people."""
    lines = ["engine             threads from      symbols  differing  tables  pixels off  worst"]
    for row in found["conditions"]:
        caps = " ".join(f"{name}={value}" for name, value in row["environment"].items())
        share = row["pixel_values_differing"] / max(row["pixel_values"], 1)
        lines.append(
            f"{row['engine']:19}{row['threads']:7} {row['transport']:5}"
            f"{row['symbols']:12}{row['differing']:11}{row['index_mismatches']:8}"
            f"{share:12.4%}{row['max_pixel_difference']:7}  {caps}"
        )
    lines.append(f"{found['symbols']} symbols compared, {found['differing']} differ")
    return "\n".join(lines)


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Decode real pictures under every condition at hand and count what differs.",
        "benchmarks/exactness.py photos/ --json > exactness.json",
    )
    found.add_argument("folder", type=Path, metavar="DIR", help="pictures")
    found.add_argument("--count", type=count, default=24, metavar="N", help="how many of them (default: 24)")
    found.add_argument("--weights", type=Path, metavar="DIR", help="another teacher than the shipped one")
    found.add_argument("--engine", choices=ENGINES, help=argparse.SUPPRESS)  # DIR then holds coded pictures
    found.add_argument("--threads", type=count, default=1, help=argparse.SUPPRESS)
    return found


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Code the pictures, publish them, decode them everywhere."""
    files = picture_files(args.folder, args.count)
    check_pictures(files)
    encoder = load_encoder(folder=args.weights)
    with tempfile.TemporaryDirectory() as name:
        coded, segments = Path(name) / "coded", list[bytes]()
        coded.mkdir()
        for n, (picture, pixels) in enumerate(read_pictures(files)):
            progress(Step("coding", n, len(files), picture))
            expected = golden(encoder, pixels)
            segments.append(expected.segment)
            save(expected, coded / f"{n:06}.npz")
        rows, todo = list[dict[str, Any]](), conditions()
        with published(encoder.base, segments, Path(name) / "server") as here:
            for n, condition in enumerate(todo):
                progress(Step("decoding", n, len(todo), condition.engine))
                rows += decode_apart(coded, here, condition)
        progress(Step("decoding", len(todo), len(todo)))
    return report(rows, len(files))


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 if something differs that must not or with one line on stderr."""
    args = parser().parse_args(argv)
    if args.engine:
        here = Published(**json.loads(os.environ[PUBLISHED]))
        print(json.dumps(decode_here(args.folder, here, args.engine, args.threads)))
        return 0
    return program.perform(
        "exactness.py", args, run, reporter(), table, good=lambda found: Tally(**found["figures"]).good
    )


if __name__ == "__main__":
    sys.exit(main())
