#!/usr/bin/env python
"""Does an upload of any size leave the API's memory alone, and does every frame arrive?

    pictures on disk --microdose push--> API (a process of its own) + Valkey        peak RSS of the API
                          |
                   killed half-way, and resumed

The pictures are noise, so that they have the size asked for as PNG. The API's peak is VmHWM of its process;
its picture decoders are processes of their own, whose peak is told beside it.
"""

import argparse
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from microdose.digest import digest_of
from microdose_client.progress import Report, Step, reporter
from microdose_server.evaluate import program
from microdose_server.evaluate.machine import machine
from microdose_server.evaluate.program import Found
from microdose_server.evaluate.serving import serving
from microdose_server.intake.picture import DEFAULT_LIMITS, check_size
from microdose_server.settings import MIB
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect
from microdose_server.store.sequences import Sequences
from microdose_server.training.options import positive

WATCH_S = 0.1
ASPECT = 1.5


@dataclass
class Peaks:
    """Most memory in MB: of the API, and of one of its decoders."""

    api_mb: float = 0.0
    decoder_mb: float = 0.0


def make_pictures(folder: Path, count: int, megabytes: float, report: Report) -> list[Path]:
    """`count` different PNG files, of `megabytes` in all. Raises BadPicture if no such size is accepted."""
    height = int((megabytes * MIB / count / 3 / ASPECT) ** 0.5)
    width = int(ASPECT * height)
    check_size(width, height, DEFAULT_LIMITS)
    noise = np.random.default_rng(0).integers(0, 256, (height + count, width, 3), dtype=np.uint8)
    files = [folder / f"{n:05}.png" for n in range(count)]
    for n, file in enumerate(files):
        Image.fromarray(noise[n : n + height]).save(file, compress_level=0)
        report(Step("drawing", n + 1, count))
    return files


@contextmanager
def watching(pid: int) -> Iterator[Peaks]:
    """The peaks of a process and its children while the context lasts."""
    peaks, ended = Peaks(), threading.Event()

    def watch() -> None:
        while not ended.wait(WATCH_S):
            peaks.api_mb = max(peaks.api_mb, peak_mb(pid))
            peaks.decoder_mb = max([peaks.decoder_mb, *map(peak_mb, children(pid))])

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield peaks
    finally:
        ended.set()
        thread.join()


def peak_mb(pid: int) -> float:
    """The most memory that a process ever had, in MB (VmHWM); 0 if it is gone."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except OSError:
        return 0.0
    return next((1024 * int(line.split()[1]) / 1e6 for line in lines if line.startswith("VmHWM")), 0.0)


def children(pid: int) -> list[int]:
    """The processes that a process has started."""
    try:
        found = [path.read_text() for path in Path(f"/proc/{pid}/task").glob("*/children")]
    except OSError:
        return []
    return [int(child) for text in found for child in text.split()]


def push(url: str, key: str, folder: Path, *resume: str) -> "subprocess.Popen[bytes]":
    """`microdose push` of a folder."""
    command = [sys.executable, "-m", "microdose_client", "push", str(folder), *resume, "--json"]
    environ = os.environ | {"MICRODOSE_SERVER": url, "MICRODOSE_KEY": key}
    return subprocess.Popen(command, env=environ, stdout=subprocess.PIPE)


def arrived(sequences: Sequences) -> tuple[str, int]:
    """The one sequence and how many frames it has."""
    found = sequences.page().items
    return (found[0].id, found[0].frames) if found else ("", 0)


def run(args: argparse.Namespace, report: Report) -> Found:
    """Push, kill the client half-way, resume, and look at what has arrived."""
    with tempfile.TemporaryDirectory(dir=args.folder) as name:
        pictures, data = Path(name) / "pictures", Path(name) / "data"
        pictures.mkdir()
        data.mkdir()
        files = make_pictures(pictures, args.count, args.megabytes, report)
        with EmbeddedValkey(data) as valkey, connect(valkey.url) as bus:
            _, key = ApiKeys(bus).create([Scope.PUBLISH])
            sequences = Sequences(bus)
            with serving(data, valkey.url) as (url, pid), watching(pid) as peaks:
                begin = time.monotonic()
                first = push(url, key, pictures)
                while (there := arrived(sequences))[1] < args.count // 2 and first.poll() is None:
                    report(Step("pushing", there[1], args.count))
                    time.sleep(WATCH_S)
                first.send_signal(signal.SIGKILL)
                first.communicate()
                sequence = there[0]
                again = push(url, key, pictures, "--resume", sequence)
                while again.poll() is None:
                    report(Step("resuming", arrived(sequences)[1], args.count))
                    time.sleep(WATCH_S)
                again.communicate()
                seconds = time.monotonic() - begin
            frames = {frame.n: frame.digest for frame in sequences.frames(sequence)}
        return found_of(files, frames, peaks, seconds, there[1])


def found_of(
    files: Sequence[Path], frames: dict[int, str], peaks: Peaks, seconds: float, resumed_at: int
) -> Found:
    """What is quoted."""
    lost = [n for n, file in enumerate(files) if frames.get(n) != digest_of(file.read_bytes())]
    total = sum(file.stat().st_size for file in files)
    return {
        "frames": len(files),
        "bytes": total,
        "lost": len(lost),
        "resumed_at": resumed_at,
        "seconds": seconds,
        "mb_per_s": total / 1e6 / seconds,
        "api_peak_mb": peaks.api_mb,
        "decoder_peak_mb": peaks.decoder_mb,
        "machine": machine(),
    }


def table(found: Found) -> str:
    """For people: a line for each number."""
    return "\n".join(f"{name:16} {value}" for name, value in found.items())


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Push many pictures, interrupted and resumed, and measure the API's memory.",
        "benchmarks/upload.py --count 1000 --megabytes 2000 --json > upload.json",
    )
    add = found.add_argument
    add("--count", type=program.several, default=1000, metavar="N", help="pictures (default: 1000)")
    add("--megabytes", type=positive, default=2000, metavar="MB", help="of all of them (default: 2000)")
    folder_help = "for pictures and data, twice their size (default: /tmp)"
    add("--folder", type=program.folder, metavar="DIR", help=folder_help)
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if every frame has arrived as it was sent."""
    return program.perform(
        "upload.py",
        parser().parse_args(arguments),
        run,
        reporter(),
        table,
        good=lambda found: not found["lost"],
    )


if __name__ == "__main__":
    sys.exit(main())
