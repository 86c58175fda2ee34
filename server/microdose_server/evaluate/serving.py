"""`microdose-server serve` and `relay` as processes of their own, for benchmarks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from microdose.errors import Unavailable


class Serving(NamedTuple):
    """Where it is, and its process id."""

    url: str
    pid: int


@contextmanager
def serving(folder: Path, redis_url: str, **settings: str) -> Iterator[Serving]:
    """An API over a Redis and a data folder, with other `settings` by their names in the environment.

    Raises Unavailable if it does not start; its log, api.log in the folder, says why.
    """
    environ = {"MICRODOSE_DATA_DIR": str(folder), "MICRODOSE_REDIS_URL": redis_url} | settings
    with _program(("serve",), environ, folder / "api.log") as found:
        yield found


@contextmanager
def relaying(folder: Path, upstream: str, key: str) -> Iterator[Serving]:
    """A relay with a data folder, which reads `upstream` with `key`; for the rest as `serving`: relay.log."""
    environ = {"MICRODOSE_DATA_DIR": str(folder), "MICRODOSE_KEY": key}
    with _program(("relay", "--upstream", upstream), environ, folder / "relay.log") as found:
        yield found


@contextmanager
def _program(arguments: Sequence[str], environ: Mapping[str, str], log: Path) -> Iterator[Serving]:
    command = [sys.executable, "-m", "microdose_server", *arguments, "--port", "0", "--json"]
    with log.open("wb") as file:
        process = subprocess.Popen(command, env=os.environ | environ, stdout=subprocess.PIPE, stderr=file)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise Unavailable(f"{arguments[0]} did not start: {log} says why")
            yield Serving(json.loads(line)["url"], process.pid)
        finally:
            process.terminate()
            process.communicate()
