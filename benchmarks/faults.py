#!/usr/bin/env python
"""What is left of uploads, jobs and live sequences when processes are killed at random.

    publishers, broadcasters --put, wait--> API --+-- Valkey      all real processes, with data of their own
             viewers <--follow--'                 +-- workers     SIGKILL to one of them, a restart, and again

Each kill waits for a moment at which something is uploaded, encoded, distilled, published or live, and a
fraction of a second more; what dies, sometimes two at once, and when is drawn from the seed. A killed process
is started again at once, as a container engine does. It has recovered when the API is ready and every job
that was running is in the hands of a living worker.

Every sequence is looked at when its job has ended: its manifest names all of its pictures, each was announced
once, and each can be decoded from bytes that match their digests. Who has followed a live one through all of
it has seen each picture once and in order.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1]))

from benchmarks.parts.broadcaster import Broadcaster
from benchmarks.parts.killer import Killer
from benchmarks.parts.patient import STUCK_S, Patient
from benchmarks.parts.plant import Plant
from benchmarks.parts.publisher import Publisher, pictures
from benchmarks.parts.tally import Tally
from microdose.errors import BadUpload
from microdose_client.progress import Report, Step, reporter
from microdose_server.evaluate import program
from microdose_server.evaluate.machine import machine
from microdose_server.store.apikeys import Scope
from microdose_server.store.lock import poll
from microdose_server.store.redis import connect
from microdose_server.training.options import count, none_or_more, positive

LIVE_PICTURES = 20
Sender: TypeAlias = Publisher | Broadcaster


@contextmanager
def sending(plant: Plant, args: argparse.Namespace, tally: Tally) -> Iterator[list[Sender]]:
    """Publishers and broadcasters; at the end they finish what they have begun."""
    key = plant.key(Scope.PUBLISH, Scope.VIEW)
    senders: list[Sender] = []
    for number in range(args.publishers + args.live):
        patient = Patient(plant, key, tally, plant.folder / f"cache {number}")
        made = partial(pictures, plant.folder / f"pictures {number}", number)
        live = number >= args.publishers
        senders.append(Broadcaster(patient, made(LIVE_PICTURES)) if live else Publisher(patient, made()))
    for sender in senders:
        sender.start()
    yield senders
    for sender in senders:
        sender.stopping.set()
    for sender in senders:
        poll(partial(_has_ended, sender, plant), 2 * STUCK_S)
        tally.note("stuck", int(sender.is_alive()), "a publisher does not come to its end")
        sender.patient.given_up.set()


def _has_ended(sender: Sender, plant: Plant) -> bool:
    plant.tend()
    return not sender.is_alive()


def measure(args: argparse.Namespace, report: Report) -> Tally:
    """Kill until there were enough. Raises BadUpload if nobody sends what a kill could harm."""
    if not args.publishers + args.live:
        raise BadUpload("nothing is sent that could be lost: give --publishers or --live")
    tally = Tally()
    end = time.monotonic() + 60 * args.minutes if args.minutes else float("inf")
    most = args.count if args.count or args.minutes else 20
    environ = {
        "MICRODOSE_LEASE_S": str(args.lease_s),
        "MICRODOSE_DISTIL_STEPS": "12",
        "MICRODOSE_CHECKPOINT_S": "0",
        "MICRODOSE_JOB_ATTEMPTS": "100000",
    }
    with ExitStack() as stack:
        folder = args.folder or Path(stack.enter_context(tempfile.TemporaryDirectory()))
        plant = stack.enter_context(Plant(folder, args.workers, remote=args.remote, environ=environ))
        senders = stack.enter_context(sending(plant, args, tally))
        bus = stack.enter_context(connect(plant.valkey.url))
        publishers = [sender for sender in senders if isinstance(sender, Publisher)]
        killer = Killer(plant, publishers, bus, tally, lease_s=args.lease_s, seed=args.seed)
        while time.monotonic() < end and (not most or tally.kills < most):
            told = killer.kill()
            report(Step("killing", tally.kills, most or 0, told))
    return tally


def result(tally: Tally, args: argparse.Namespace) -> dict[str, Any]:
    """Everything that was found, and under which conditions."""
    found = asdict(tally)
    times, _ = found.pop("recovery_s"), found.pop("last_kill")
    for quantile in (50, 99):
        found[f"recovery_s_p{quantile}"] = float(np.percentile(times, quantile)) if times else 0.0
    conditions = {"seed": args.seed, "lease_s": args.lease_s, "workers": args.workers, "remote": args.remote}
    return found | conditions | {"machine": machine()}


def run(args: argparse.Namespace, progress: Report) -> dict[str, Any]:
    """Kill, and count."""
    return result(measure(args, progress), args)


def table(found: dict[str, Any]) -> str:
    """For people: the counts, and why anything is bad."""
    return "\n".join([f"{name:16} {value}" for name, value in found.items() if name != "why"] + found["why"])


def is_good(found: dict[str, Any]) -> bool:
    """Whether nothing came to harm."""
    return not (found["lost"] + found["doubled"] + found["corrupt"] + found["stuck"])


def parser() -> argparse.ArgumentParser:
    """The command line."""
    found = program.parser(
        "Kill worker, API and Valkey at random points of upload, distillation and publishing.",
        "benchmarks/faults.py --count 200 --json > faults.json",
    )
    add = found.add_argument
    add("--count", type=count, metavar="N", help="kills (default: 20 without --minutes)")
    add("--minutes", type=positive, metavar="M", help="go on for so long")
    add("--seed", type=none_or_more, default=0, metavar="N", help="of what is killed when (default: 0)")
    add("--workers", type=count, default=2, metavar="N", help="processes that do jobs (default: 2)")
    add("--publishers", type=none_or_more, default=2, metavar="N", help="sequences at a time (default: 2)")
    add("--live", type=none_or_more, default=1, metavar="N", help="live sequences at a time (default: 1)")
    add("--lease-s", type=positive, default=2.0, metavar="S", help="of a job (default: 2; a server's is 15)")
    add("--remote", action="store_true", help="workers share no disk with the API")
    add("--folder", type=program.folder, metavar="DIR", help="for data and logs, to stay (default: /tmp)")
    return found


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code 0 if nothing was lost, doubled, corrupt or stuck."""
    return program.perform("faults.py", parser().parse_args(arguments), run, reporter(), table, good=is_good)


if __name__ == "__main__":
    sys.exit(main())
