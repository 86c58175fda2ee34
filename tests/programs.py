"""`microdose-server` as a process of its own, as an operator starts it."""

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

Start = Callable[..., "Program"]


@dataclass(frozen=True)
class Program:
    """A running `microdose-server`, started with --json."""

    process: subprocess.Popen[str]
    log: Path

    def said(self, event: str) -> dict[str, Any]:
        """The facts of its next line on stdout, which must announce `event`."""
        assert self.process.stdout is not None
        line = self.process.stdout.readline()
        assert line, f"it ended instead of saying {event}: {self.log.read_text()}"
        facts: dict[str, Any] = json.loads(line)
        assert facts.pop("event") == event
        return facts

    def end(self, signum: int, seconds: float = 30) -> int:
        """Send a signal and return the exit code."""
        self.process.send_signal(signum)
        return self.process.wait(seconds)


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Start `microdose-server --json` with arguments; it ends with the test."""
    with ExitStack() as stack:

        def start(*arguments: str, **environ: str) -> Program:
            log = tmp_path / f"{arguments[0]}-{len(list(tmp_path.glob('*.log')))}.log"
            process = stack.enter_context(
                subprocess.Popen(
                    [sys.executable, "-m", "microdose_server", *arguments, "--json"],
                    env=surroundings() | environ,
                    stdout=subprocess.PIPE,
                    stderr=stack.enter_context(log.open("w")),
                    text=True,
                )
            )
            stack.callback(process.kill)
            return Program(process, log)

        yield start


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run `microdose-server` to its end."""
    command = [sys.executable, "-m", "microdose_server", *arguments]
    return subprocess.run(command, env=surroundings() | environ, capture_output=True, text=True, check=False)


def surroundings() -> dict[str, str]:
    """This process's environment without settings of ours, able to import what it can."""
    plain = {k: v for k, v in os.environ.items() if k != "REDIS_URL" and not k.startswith("MICRODOSE_")}
    return plain | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
