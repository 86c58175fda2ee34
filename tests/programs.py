"""`microdose-server` and `microdose` as processes of their own, as operators and users start them."""

import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from microdose_server.settings import Settings

Start = Callable[..., "Program"]
Piped = subprocess.Popen[bytes]


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


@contextmanager
def starting(folder: Path) -> Iterator[Start]:
    """Start `microdose-server --json` with arguments and environment; all end with the context."""
    with ExitStack() as stack:

        def start(*arguments: str, **environ: str) -> Program:
            log = folder / f"{arguments[0]}-{len(list(folder.glob('*.log')))}.log"
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


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Start]:
    """Starts programs that end with the test."""
    with starting(tmp_path) as start:
        yield start


def run(*arguments: str, **environ: str) -> "subprocess.CompletedProcess[str]":
    """Run `microdose-server` to its end."""
    command = [sys.executable, "-m", "microdose_server", *arguments]
    return subprocess.run(command, env=surroundings() | environ, capture_output=True, text=True, check=False)


@contextmanager
def microdose(*arguments: str, **environ: str) -> Iterator[Piped]:
    """`microdose` at work; its streams are pipes, and it is killed at the end of the context."""
    with subprocess.Popen(
        [sys.executable, "-m", "microdose_client", *arguments],
        env=surroundings() | environ,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        # A shell's background jobs ignore Ctrl-C, and so would their children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    ) as process:
        try:
            yield process
        finally:
            process.kill()


def surroundings() -> dict[str, str]:
    """This process's environment without settings of a server, able to import what this process can."""
    settings = {"REDIS_URL", *(f"MICRODOSE_{name.upper()}" for name in Settings.model_fields)}
    plain = {name: value for name, value in os.environ.items() if name not in settings}
    return plain | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
