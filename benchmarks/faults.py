"""What is left of uploads and jobs when processes are killed at random.

    publishers --push, wait--> API --+-- Valkey      all real processes, with data of their own
                                     +-- workers     SIGKILL to one of them, a restart, and again

Each kill waits for a moment at which something is uploaded, encoded, distilled or published, and a fraction
of a second more; what dies, sometimes two at once, and when is drawn from the seed. A killed process is
started again at once, as a container engine does. It has recovered when the API is ready and every job that
was running is in the hands of a living worker.

Every sequence is looked at when its job has ended: its manifest names all of its pictures, each was announced
once, and each can be decoded from bytes that match their digests.
"""

import argparse
import json
import os
import random
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import redis
from PIL import Image

from microdose import keys
from microdose.errors import MicrodoseError, NotFound, Unavailable
from microdose.manifest import Event, Manifest
from microdose.problem import ProblemError
from microdose.resources import DoseChoice, Job, JobState, SequenceComplete, SequenceCreate
from microdose_client import Client, Retry
from microdose_client.api import Api
from microdose_client.http import Http
from microdose_client.progress import Step, reporter
from microdose_client.push import put_all
from microdose_client.threads import Loop
from microdose_server.evaluate.machine import machine
from microdose_server.jobs.records import Jobs
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.bus import read_stream
from microdose_server.store.embedded import EmbeddedValkey, socket_url
from microdose_server.store.redis import LOST, connect

PHASES = ("upload", "encode", "distil", "verify", "publish")
PICTURES, WIDTH, HEIGHT = 4, 96, 64
POLL_S = 0.05
WAIT_S = 3.0
"""The longest wait for a moment worth a kill."""
STUCK_S = 180.0
BOTH = 0.2
"""How often two of them die at once."""
STALE = 0.25
"""Of a lease: older than this, it was not renewed by a worker that lives, which does so ten times a lease."""
T = TypeVar("T")
PATIENT = Retry(attempts=40, first_s=0.1, cap_s=2.0)


@dataclass
class Tally:
    """What was counted. recovery_s: seconds from each kill until all went on. why: of everything bad.

    A job is stuck if it does not go on after a kill, or does not end in time after the last one.
    """

    kills: int = 0
    last_kill: float = 0.0
    sequences: int = 0
    lost: int = 0
    doubled: int = 0
    corrupt: int = 0
    stuck: int = 0
    recovery_s: list[float] = field(default_factory=list)
    why: list[str] = field(default_factory=list)

    def note(self, kind: str, count: int, why: str) -> None:
        """Add `count` to a kind of harm."""
        setattr(self, kind, getattr(self, kind) + count)
        if count:
            self.why.append(f"{kind} {count}: {why}")


class Plant:
    """The processes of one server. Start and restart them from one thread, which stays."""

    def __init__(self, folder: Path, workers: int, lease_s: float, *, remote: bool = False) -> None:
        """`remote` workers share no disk with the API."""
        self.folder = folder
        self.lease_s = lease_s
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            self.port = free.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        self.valkey = EmbeddedValkey(folder)
        self._environ = os.environ | {
            "MICRODOSE_DATA_DIR": str(folder),
            "MICRODOSE_REDIS_URL": socket_url(folder),
            "MICRODOSE_PORT": str(self.port),
            "MICRODOSE_LEASE_S": str(lease_s),
            "MICRODOSE_DISTIL_STEPS": "3",
            "MICRODOSE_JOB_ATTEMPTS": "100000",
            "OMP_NUM_THREADS": "1",
        }
        self._commands = {"api": "serve"} | {f"worker {n}": "worker" for n in range(workers)}
        self._remote = remote
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> "Plant":
        self.valkey.start()
        with connect(self.valkey.url) as bus:
            self._environ["MICRODOSE_KEY"] = ApiKeys(bus).create([Scope.WORKER])[1]
        self.tend()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.valkey.stop()

    def tend(self) -> None:
        """Start every process that does not run."""
        for name, command in self._commands.items():
            process = self._processes.get(name)
            if process is None or process.poll() is not None:
                with (self.folder / f"{name}.log").open("ab") as log:
                    self._processes[name] = subprocess.Popen(
                        [sys.executable, "-m", "microdose_server", command],
                        env=self._environ | self._apart(name),
                        stdout=log,
                        stderr=log,
                    )

    def _apart(self, name: str) -> dict[str, str]:
        if not (self._remote and name.startswith("worker")):
            return {}
        return {"MICRODOSE_DATA_DIR": str(self.folder / name), "MICRODOSE_BLOBS_URL": self.url}

    def kill(self, targets: Sequence[str]) -> None:
        """SIGKILL to each, and a restart."""
        for target in targets:
            pid = self.valkey.pid if target == "valkey" else self._processes[target].pid
            assert pid is not None
            os.kill(pid, signal.SIGKILL)
        if "valkey" in targets:
            self.valkey.stop()
            self.valkey = EmbeddedValkey(self.folder)
            self.valkey.start()
        for target in set(targets) - {"valkey"}:
            self._processes[target].wait()
        self.tend()

    def kinds(self) -> list[list[str]]:
        """What can be killed: a worker, the API, Valkey."""
        workers = [name for name in self._commands if name.startswith("worker")]
        return [workers, ["api"], ["valkey"]]


class Publisher(threading.Thread):
    """Pushes one sequence after another until told to stop, and looks at what became of each."""

    def __init__(self, plant: Plant, key: str, files: Sequence[Path], tally: Tally, cache: Path) -> None:
        super().__init__(daemon=True)
        self.uploading = False
        self.stopping, self.given_up = threading.Event(), threading.Event()
        self._loop = Loop()
        self._run = self._loop.run
        self._api = Api(Http(plant.url, key=key, retry=PATIENT))
        self._client = Client(plant.url, key=key, retry=PATIENT, cache_dir=cache)
        self._bus = connect(socket_url(plant.folder))
        self._files = files
        self._tally = tally

    def run(self) -> None:
        """Publish."""
        with self._loop, self._client, self._bus:
            with suppress(Unavailable):
                while not self.stopping.is_set():
                    self._publish_one()
            self._run(self._api.close)

    def _publish_one(self) -> None:
        dose = DoseChoice.FULL if self._tally.sequences % 3 == 0 else DoseChoice.NONE
        sequence = self._persist(partial(self._run, self._api.create, SequenceCreate(dose=dose))).id
        self._tally.sequences += 1
        try:
            self._publish(sequence)
        except NotFound as error:
            self._tally.note("lost", PICTURES, f"{sequence}: {error}")

    def _persist(self, action: Callable[[], T]) -> T:
        """`action`, again and again while the service is away. Raises Unavailable once given up."""
        while True:
            try:
                return action()
            except (Unavailable, *LOST) as error:
                if self.given_up.is_set():
                    raise Unavailable("nobody waits any more") from error
            except ProblemError as error:
                if error.problem.status < 500:
                    raise
            time.sleep(POLL_S)

    def _publish(self, sequence: str) -> None:
        self.uploading = True
        self._persist(lambda: put_all(self._run, self._api, sequence, self._files))
        self.uploading = False
        job = self._persist(lambda: self._run(self._api.complete, sequence, SequenceComplete()))
        begin = time.monotonic()
        while not (job := self._persist(lambda: self._run(self._api.job, job.id, wait=2))).state.final:
            if time.monotonic() > max(begin, self._tally.last_kill) + STUCK_S:
                self._tally.note("stuck", 1, f"job {job.id} is {job.state} in {job.phase}")
                return
        if job.state is not JobState.SUCCEEDED:
            self._tally.note("lost", PICTURES, f"job {job.id} {job.state}: {job.error}")
            return
        self._persist(lambda: self._look(sequence))

    def _look(self, sequence: str) -> None:
        manifest = self._client.manifest(sequence)
        numbers = [segment.n for segment in manifest.segments]
        entries = read_stream(self._bus, keys.events(sequence), "0-0", count=1000)
        told = [event for event in (Event.model_validate_json(data) for _, data in entries) if event.segment]
        told_numbers = [event.segment.n for event in told if event.segment]
        doubled = len(told_numbers) - len(set(told_numbers)) + abs(len(entries) - manifest.seq)
        self._tally.note("lost", len(set(range(PICTURES)) - set(numbers)), f"{sequence} has {numbers}")
        self._tally.note("doubled", doubled, f"{sequence} told {told_numbers} in {len(entries)} events")
        self._tally.note("corrupt", PICTURES - self._decodable(manifest), f"pictures of {sequence}")

    def _decodable(self, manifest: Manifest) -> int:
        """How many pictures come out, in order, until one does not."""
        good = 0
        try:
            for picture in self._client.pictures(manifest.sequence, threads=1):
                good += picture.pixels.shape == (HEIGHT, WIDTH, 3)
        except Unavailable:
            raise
        except MicrodoseError as error:
            self._tally.why.append(f"{manifest.sequence}: {error}")
        return good


class Killer:
    """Kills one after another, and measures how long it takes until all goes on."""

    def __init__(
        self, plant: Plant, publishers: Sequence[Publisher], bus: redis.Redis, tally: Tally, seed: int
    ) -> None:
        self._plant = plant
        self._lease_s = plant.lease_s
        self._publishers = publishers
        self._tally = tally
        self._random = random.Random(seed)
        self._bus = bus

    def kill(self) -> str:
        """Wait for the moment, kill, and wait until it has recovered; returns what was killed when."""
        kinds = self._random.sample(self._plant.kinds(), 2 if self._random.random() < BOTH else 1)
        targets, phase = [self._random.choice(kind) for kind in kinds], self._random.choice(PHASES)
        told = f"{' and '.join(targets)} in {phase}"
        until(lambda: self._is_in(phase), self._random.uniform(0, WAIT_S))
        time.sleep(self._random.uniform(0, 0.3))
        running = self._running()
        begin = time.monotonic()
        self._plant.kill(targets)
        self._tally.kills += len(targets)
        self._tally.last_kill = begin
        if not until(lambda: self._goes_on(running, begin), STUCK_S):
            self._tally.note("stuck", 1, f"no recovery from a kill of {told}")
        self._tally.recovery_s.append(time.monotonic() - begin)
        return told

    def _is_in(self, phase: str) -> bool:
        if phase == "upload":
            return any(publisher.uploading for publisher in self._publishers)
        return any(job.phase == phase for job in Jobs(self._bus).unfinished())

    def _running(self) -> list[Job]:
        return [job for job in Jobs(self._bus).unfinished() if job.state is JobState.RUNNING]

    def _goes_on(self, running: Sequence[Job], begin: float) -> bool:
        self._plant.tend()
        if time.monotonic() - begin < STALE * self._lease_s:  # what was renewed before the kill looks fresh
            return False
        try:
            with urllib.request.urlopen(f"{self._plant.url}/readyz", timeout=5):
                pass
            return all(self._is_worked_on(job) for job in running)
        except (OSError, *LOST):
            return False

    def _is_worked_on(self, job: Job) -> bool:
        """Whether its lease was renewed just now; or it has ended."""
        left_s = self._bus.pttl(keys.lease(job.sequence)) / 1000
        return left_s > (1 - STALE) * self._lease_s or Jobs(self._bus).get(job.id).state.final


def until(done: Callable[[], bool], seconds: float) -> bool:
    """Whether `done` came true in time."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


@contextmanager
def publishing(plant: Plant, count: int, tally: Tally) -> Iterator[list[Publisher]]:
    """That many publishers; at the end they finish what they have begun."""
    with connect(socket_url(plant.folder)) as bus:
        _, key = ApiKeys(bus).create([Scope.PUBLISH, Scope.VIEW])
    publishers = []
    for number in range(count):
        files = pictures(plant.folder / f"pictures {number}", number)
        publishers.append(Publisher(plant, key, files, tally, plant.folder / f"cache {number}"))
    for publisher in publishers:
        publisher.start()
    yield publishers
    for publisher in publishers:
        publisher.stopping.set()
    for publisher in publishers:
        until(partial(_has_ended, publisher, plant), 2 * STUCK_S)
        tally.note("stuck", int(publisher.is_alive()), "a publisher does not come to its end")
        publisher.given_up.set()


def _has_ended(publisher: Publisher, plant: Plant) -> bool:
    plant.tend()
    return not publisher.is_alive()


def pictures(folder: Path, seed: int) -> list[Path]:
    """Some small pictures: smooth noise."""
    folder.mkdir(parents=True)
    noise = np.random.default_rng(seed)
    files = [folder / f"{n}.png" for n in range(PICTURES)]
    for file in files:
        coarse = noise.integers(0, 256, (HEIGHT // 16, WIDTH // 16, 3), dtype=np.uint8)
        Image.fromarray(coarse).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC).save(file)
    return files


def measure(args: argparse.Namespace) -> Tally:
    """Kill until there were enough."""
    tally = Tally()
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    count = args.count if args.count or args.minutes else 20
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        folder.mkdir(parents=True, exist_ok=True)
        plant = stack.enter_context(Plant(folder, args.workers, args.lease_s, remote=args.remote))
        report = stack.enter_context(reporter(quiet=args.json))
        publishers = stack.enter_context(publishing(plant, args.publishers, tally))
        bus = stack.enter_context(connect(plant.valkey.url))
        killer = Killer(plant, publishers, bus, tally, args.seed)
        while time.monotonic() < end and (not count or tally.kills < count):
            told = killer.kill()
            report(Step("killing", tally.kills, count or 0, told))
    return tally


def result(tally: Tally, args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was found, and under which conditions."""
    found = asdict(tally)
    times, _ = found.pop("recovery_s"), found.pop("last_kill")
    for quantile in (50, 99):
        found[f"recovery_s_p{quantile}"] = float(np.percentile(times, quantile)) if times else 0.0
    conditions = {"seed": args.seed, "lease_s": args.lease_s, "workers": args.workers, "remote": args.remote}
    return found | conditions | {"machine": machine()}


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = argparse.ArgumentParser(
        description="Kill worker, API and Valkey at random points of upload, distillation and publishing.",
        epilog="example: benchmarks/faults.py --count 200 --json > faults.json",
    )
    found.add_argument("--count", type=int, help="kills (default: 20 without --minutes)")
    found.add_argument("--minutes", type=float, help="go on for so long")
    found.add_argument("--seed", type=int, default=0)
    found.add_argument("--workers", type=int, default=2)
    found.add_argument("--publishers", type=int, default=2)
    found.add_argument("--lease-s", type=float, default=2.0, help="of a job (default: 2; a server's is 15)")
    found.add_argument("--remote", action="store_true", help="workers share no disk with the API")
    found.add_argument("--folder", type=Path, help="for data and logs, to stay (default: a temporary one)")
    found.add_argument("--json", action="store_true", help="print everything as JSON")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost, doubled, corrupt or stuck."""
    args = parser().parse_args(arguments)
    tally = measure(args)
    found = result(tally, args)
    if args.json:
        print(json.dumps(found, indent=2))
    else:
        print("\n".join([f"{name:16} {value}" for name, value in found.items() if name != "why"] + tally.why))
    return int(bool(tally.lost + tally.doubled + tally.corrupt + tally.stuck))


if __name__ == "__main__":
    raise SystemExit(main())
