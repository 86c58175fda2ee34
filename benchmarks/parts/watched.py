"""Hostile inputs, read in a process that is watched.

seed, number -> a valid document or request, changed -> reader: a result, or one of our errors
                    else: a crash (another exception, a dead process), or a hang
"""

import math
import multiprocessing
import os
import resource
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from functools import partial
from random import Random
from typing import Any

from benchmarks.parts.asking import Hang, ask
from benchmarks.parts.documents import Reader, hostile_document, readers
from benchmarks.parts.requests import Scene, requests
from benchmarks.parts.stage import peak_mb
from benchmarks.parts.twists import hostile_request
from microdose.errors import MicrodoseError

ADDRESS_BYTES = 4 << 30
HANG_S = 10.0
PATIENCE = 6
"""An input that held its process is read once more, with so many times the time: is it the machine's load?"""
DOCUMENTS = 6
"""So many documents of each kind for one request of each, which takes a hundred times as long."""


@dataclass
class Found:
    """What has been seen so far."""

    inputs: int = 0
    crashes: list[dict[str, Any]] = field(default_factory=list)
    hangs: list[dict[str, Any]] = field(default_factory=list)
    peak_mb: int = 0

    def add(self, other: "Found") -> None:
        """Count in what another has seen."""
        self.inputs += other.inputs
        self.crashes += other.crashes
        self.hangs += other.hangs
        self.peak_mb = max(self.peak_mb, other.peak_mb)


@dataclass(frozen=True)
class Batch:
    """Inputs start..stop of a seed, with requests for the API of `scene`; none is begun after `until`."""

    seed: int
    start: int
    stop: int
    scene: Scene
    until: float
    hang_s: float = HANG_S


@dataclass(frozen=True)
class Kind:
    """One kind of input: what makes it, and what reads it."""

    name: str
    make: Callable[[Random], bytes]
    read: Reader


def kinds(scene: Scene, hang_s: float = HANG_S) -> list[Kind]:
    """All of them, each as often as it has its turn; a request is given up well before `hang_s`."""
    documents = [
        Kind(name, partial(hostile_document, name, valid), reader)
        for name, (reader, valid) in readers().items()
    ]
    return DOCUMENTS * documents + [
        Kind(
            f"request: {name}", partial(hostile_request, valid), partial(ask, scene, patience_s=0.8 * hang_s)
        )
        for name, valid in requests(scene).items()
    ]


def read_all(batch: Batch, progress: Any, told: Any) -> None:
    """What a process does: each input is noted in `progress` before it is read."""
    known = kinds(batch.scene, batch.hang_s)
    resource.setrlimit(resource.RLIMIT_AS, (ADDRESS_BYTES, ADDRESS_BYTES))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    n = batch.start
    while n < batch.stop and time.time() < batch.until:
        progress.value = n
        kind = known[n % len(known)]
        try:
            kind.read(kind.make(Random(f"{batch.seed} {n}")))
        except MicrodoseError:
            pass
        except Exception as error:
            what = "hangs" if isinstance(error, Hang) else "crashes"
            told.put((what, n, f"{kind.name}: {type(error).__name__}: {error}"[:400]))
        n += 1
    told.put(("peak_mb", peak_mb("self"), ""))
    told.close()
    told.join_thread()
    progress.value = n
    os._exit(0)  # how long the libraries take to end is not for this to judge


def watch(batch: Batch) -> Found:
    """Read a batch in a process; after an input that kills or holds it, go on in another."""
    found, start = Found(), batch.start
    while start < batch.stop and time.time() < batch.until:
        part = _watch_one(replace(batch, start=start))
        part.hangs = [each for each in part.hangs if _hangs_again(batch, each["input"])]
        found.add(part)
        start += max(1, part.inputs)
    return found


def _hangs_again(batch: Batch, n: int) -> bool:
    """Whether an input that took too long does so once more, with nothing else to read and more time."""
    alone = replace(batch, start=n, stop=n + 1, until=math.inf, hang_s=PATIENCE * batch.hang_s)
    return bool(_watch_one(alone).hangs)


def _watch_one(batch: Batch) -> Found:
    """What one process has read until it ended, or was ended."""
    context = multiprocessing.get_context("spawn")
    progress, told, found = context.Value("q", -1, lock=False), context.Queue(), Found()
    process = context.Process(target=read_all, args=(batch, progress, told))
    process.start()
    seen, since, killed = -1, time.monotonic(), False
    while process.is_alive():
        process.join(0.2)
        _note(told, batch, found)
        if progress.value != seen or seen < 0:
            seen, since = progress.value, time.monotonic()
        elif time.monotonic() - since > batch.hang_s:
            killed = True
            process.kill()
            process.join()
            found.hangs.append({"input": seen, "seed": batch.seed, "why": f"nothing for {batch.hang_s:g} s"})
    _note(told, batch, found)
    if process.exitcode and not killed:
        why = f"exit {process.exitcode}"
        found.crashes.append({"input": progress.value, "seed": batch.seed, "why": why})
    reached = max(progress.value, batch.start)
    found.inputs = reached - batch.start + (1 if process.exitcode else 0)
    return found


def _note(told: Any, batch: Batch, found: Found) -> None:
    """Take down what a process has told so far."""
    while not told.empty():
        what, number, why = told.get()
        if what == "peak_mb":
            found.peak_mb = max(found.peak_mb, number)
        else:
            getattr(found, what).append({"input": number, "seed": batch.seed, "why": why})
