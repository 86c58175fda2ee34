"""Machines that share no network but a cable, as network namespaces of Linux: needs root and iproute2."""

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

import pytest


@dataclass(frozen=True)
class Machines:
    """`here` is this machine's address for them; what `commands` begin with runs on each of them."""

    here: str
    commands: tuple[tuple[str, ...], ...]


@contextmanager
def machines(count: int) -> Iterator[Machines]:
    """That many, each with a cable to this one; skips the test where there cannot be any."""
    if os.geteuid() != 0 or shutil.which("ip") is None:
        pytest.skip("NOT TESTED HERE: network namespaces need root and iproute2")
    name, net = f"md{os.getpid()}", f"198.18.{os.getpid() % 250}"  # addresses that are for tests: RFC 2544
    with ExitStack() as stack:
        _made(stack, f"link add {name} type bridge", f"link delete {name}")
        _ip(f"address add {net}.1/24 dev {name}")
        _ip(f"link set {name} up")
        for n in range(count):
            space = f"{name}-{n}"
            _made(stack, f"netns add {space}", f"netns delete {space}")
            _ip(f"link add {name}.{n} type veth peer name cable netns {space}")
            _ip(f"link set {name}.{n} master {name} up")
            _ip(f"-n {space} address add {net}.{n + 2}/24 dev cable")
            _ip(f"-n {space} link set cable up")
        commands = tuple(("ip", "netns", "exec", f"{name}-{n}") for n in range(count))
        yield Machines(f"{net}.1", commands)


def _made(stack: ExitStack, make: str, remove: str) -> None:
    """Make something that goes at the end; skip the test where the system does not allow it."""
    made = subprocess.run(["ip", *make.split()], capture_output=True, text=True)
    if made.returncode:
        pytest.skip(f"NOT TESTED HERE: ip {make}: {made.stderr.strip()}")
    stack.callback(_ip, remove)


def _ip(arguments: str) -> None:
    subprocess.run(["ip", *arguments.split()], check=True)
