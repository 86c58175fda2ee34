"""`microdose-server serve` as a process of its own, for benchmarks."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
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
    environ = os.environ | {"MICRODOSE_DATA_DIR": str(folder), "MICRODOSE_REDIS_URL": redis_url} | settings
    command = [sys.executable, "-m", "microdose_server", "serve", "--port", "0", "--json"]
    with (folder / "api.log").open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=subprocess.PIPE, stderr=log)
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            if not line:
                raise Unavailable(f"the API did not start: {folder}/api.log says why")
            yield Serving(json.loads(line)["url"], process.pid)
        finally:
            process.terminate()
            process.communicate()
