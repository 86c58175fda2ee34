"""The process of one job, as a worker starts it: `python -m microdose_server.jobs.horse`.

    worker --environment: MICRODOSE_ERRAND = {"work": …, "job": …, "sequence": …, "token": …}--> this process

Names are all it is told, and settings stand in the environment as they do for every other process: rq's own
way puts the password of Redis on the command line, which every user of the machine may read, and unpickles
what it finds there.
"""

import os
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import Any, Self

from pydantic import BaseModel, ConfigDict

from microdose_server.logs import start_logging
from microdose_server.settings import Settings
from microdose_server.store.bus import Attempt
from microdose_server.store.parent import die_with_parent

VARIABLE = "MICRODOSE_ERRAND"


class Errand(BaseModel):
    """Which attempt at which job to make by which function, and whose child that makes."""

    model_config = ConfigDict(frozen=True)

    work: str
    job: str
    sequence: str
    token: int
    parent: int

    @property
    def attempt(self) -> Attempt:
        """What the process may write as."""
        return Attempt(self.job, self.sequence, self.token)

    def start(self) -> "subprocess.Popen[bytes]":
        """Start its process, in a process group of its own."""
        return subprocess.Popen(
            [sys.executable, "-P", "-m", "microdose_server.jobs.horse"],
            env=os.environ | {VARIABLE: self.model_dump_json()},
            stdin=subprocess.DEVNULL,
            process_group=0,
        )

    @classmethod
    def received(cls) -> Self:
        """The errand of this very process; whatever it starts in turn knows nothing of it."""
        return cls.model_validate_json(os.environ.pop(VARIABLE))

    def run(self) -> None:
        """Do it, here."""
        module, _, name = self.work.rpartition(".")
        work: Callable[[Errand], Any] = getattr(import_module(module), name)
        work(self)


def main() -> None:
    """End with the worker, and before it where memory runs out: it is the one who tells of the end."""
    errand = Errand.received()
    die_with_parent(errand.parent, signal.SIGKILL)
    with suppress(OSError):  # no Linux
        Path("/proc/self/oom_score_adj").write_text("1000")
    start_logging(Settings())
    errand.run()


if __name__ == "__main__":
    main()
