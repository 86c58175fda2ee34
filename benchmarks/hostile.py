"""Does any input break a reader? Mutations of every format, read in processes that are watched.

    seed, number -> a valid document, changed -> reader: a result, or one of our errors
                                                  else: a crash (another exception, a dead process), or a hang

Half of the blobs get right CRCs again, so that what lies behind those is reached too. Input number N of a
seed is always the same. A process has ADDRESS_BYTES of address space, and its peak of memory is taken.
Exit code 1 if anything crashes or hangs, or takes more than MOST_MB.
"""

import argparse
import io
import json
import multiprocessing
import resource
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[1]))

from microdose.errors import MicrodoseError
from microdose.wire import Unit, read_blob, write_blob
from microdose_client.progress import Report, Step, reporter
from microdose_server.evaluate.machine import machine

ADDRESS_BYTES = 4 << 30
MOST_MB = 512
HANG_S = 10.0
FRAMED = ("blob", "segment", "picture", "dose")
EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\0" * 8, b"\xff\xff\xff\xff\x0f", b"99999999999")

Reader = Callable[[bytes], object]


def peak_mb() -> int:
    """This program's peak of memory. getrusage would count that of the process it was started from, too."""
    status = Path("/proc/self/status").read_text()
    return next(int(line.split()[1]) // 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def readers() -> dict[str, tuple[Reader, bytes]]:
    """Every format: what reads it, and a valid document."""
    from microdose_server.intake.archive import read_zip
    from microdose_server.intake.picture import read_picture
    from microdose_server.settings import Limits
    from tests.photos import encode, pack, photo
    from tests.property.test_hostile_bytes import READERS

    limits = Limits(max_pixels=1_000_000, max_picture_bytes=1 << 20)
    png, jpeg = encode(photo(1)), encode(photo(1), "JPEG")
    return READERS | {
        "png": (lambda data: read_picture(data, limits), png),
        "jpeg": (lambda data: read_picture(data, limits), jpeg),
        "zip": (lambda data: list(read_zip(io.BytesIO(data), limits)), pack(("a.png", png), ("b.jpg", jpeg))),
    }


def mutate(data: bytes, random: Random) -> bytes:
    """The data with one to four stretches changed, cut, repeated or put elsewhere."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, length = random.randrange(len(changed) + 1), random.choice((0, 1, 1, 2, 4, 8, 64))
        kind = random.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[at : at + length] = random.randbytes(length)
        elif kind == 2:
            changed[at : at + length] = random.choice(EXTREMES)
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        else:
            del changed[at : at + length]
    return bytes(changed)


def hostile(kind: str, valid: bytes, random: Random) -> bytes:
    """One input of a kind; of framed ones every other has right CRCs."""
    if kind not in FRAMED or random.random() < 0.5:
        return mutate(valid, random)
    units = list(read_blob(valid)[:-1])
    n = random.randrange(len(units))
    payload = mutate(units[n].payload, random)
    units[n] = Unit(units[n].type, payload[: len(units[n].payload)] if n == 0 else payload)
    return write_blob(units)


def read_all(seed: int, start: int, stop: int, progress: Any, told: Any) -> None:
    """What a process does: inputs start..stop, each noted in `progress` before it is read."""
    known = list(readers().items())
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    for n in range(start, stop):
        progress.value = n
        kind, (reader, valid) = known[n % len(known)]
        data = hostile(kind, valid, Random(f"{seed} {n}"))
        try:
            reader(data)
        except MicrodoseError:
            pass
        except Exception as error:
            told.put((n, kind, f"{type(error).__name__}: {error}"[:200]))
    progress.value = stop
    told.put((-1, "peak", str(peak_mb())))


@dataclass
class Found:
    """What has been seen so far."""

    inputs: int = 0
    crashes: list[dict[str, Any]] = field(default_factory=list)
    hangs: list[dict[str, Any]] = field(default_factory=list)
    peak_mb: int = 0


def watch(seed: int, start: int, stop: int, found: Found) -> None:
    """Read inputs start..stop in a process; after one that kills or holds it, go on in another."""
    context = multiprocessing.get_context("spawn")
    while start < stop:
        progress, told = context.Value("q", -1, lock=False), context.Queue()
        process = context.Process(target=read_all, args=(seed, start, stop, progress, told))
        process.start()
        seen, since = -1, time.monotonic()
        while process.is_alive():
            process.join(0.2)
            note(told, seed, found)
            if progress.value != seen or seen < 0:
                seen, since = progress.value, time.monotonic()
            elif time.monotonic() - since > HANG_S:
                process.kill()
                process.join()
                found.hangs.append({"input": seen, "seed": seed})
                break
        else:
            if process.exitcode and seen < stop:
                found.crashes.append(
                    {"input": progress.value, "seed": seed, "why": f"exit {process.exitcode}"}
                )
        while not told.empty():
            n, kind, why = told.get()
            if n < 0:
                found.peak_mb = max(found.peak_mb, int(why))
            else:
                found.crashes.append({"input": n, "seed": seed, "kind": kind, "why": why})
        reached = stop if progress.value >= stop else max(progress.value, start) + 1
        found.inputs += reached - start
        start = reached


def note(told: Any, seed: int, found: Found) -> None:
    """Take down what a process has told so far."""
    while not told.empty():
        n, kind, why = told.get()
        if n < 0:
            found.peak_mb = max(found.peak_mb, int(why))
        else:
            found.crashes.append({"input": n, "seed": seed, "kind": kind, "why": why})


def run(args: argparse.Namespace, progress: Report) -> Found:
    """Batches of inputs until the count or the time is reached."""
    found, start, until = Found(), 0, time.monotonic() + 60 * (args.minutes or 1e9)
    while start < args.count and time.monotonic() < until:
        stop = min(start + args.batch, args.count)
        watch(args.seed, start, stop, found)
        start = stop
        progress(Step("reading", start, args.count))
    return found


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        description="Read mutations of every format and count what breaks.",
        epilog="example: benchmarks/hostile.py --count 1000000 --json > hostile.json",
    )
    made.add_argument("--count", type=int, default=1_000_000, metavar="N", help="inputs (default: 1000000)")
    made.add_argument("--minutes", type=float, metavar="M", help="end after this long, whatever the count")
    made.add_argument("--seed", type=int, default=0, help="another seed, other inputs (default: 0)")
    made.add_argument("--batch", type=int, default=20_000, help="inputs of one process (default: 20000)")
    made.add_argument("--json", action="store_true", help="print everything as JSON")
    return made


def main(argv: Sequence[str] | None = None) -> int:
    """Returns 0, or 1 if anything broke."""
    args = parser().parse_args(argv)
    with reporter() as progress:
        found = run(args, progress)
    figures = {"inputs": found.inputs, "crashes": len(found.crashes), "hangs": len(found.hangs)}
    figures["peak_mb"] = found.peak_mb
    everything: dict[str, Any] = {
        **figures,
        "figures": figures,
        "broken": found.crashes + found.hangs,
        "machine": machine(),
    }
    plain = "\n".join([*(str(each) for each in everything["broken"][:20]), str(figures)])
    print(json.dumps(everything, indent=2) if args.json else plain)
    return 0 if not found.crashes and not found.hangs and found.peak_mb <= MOST_MB else 1


if __name__ == "__main__":
    sys.exit(main())
