"""SIGTERM and SIGINT as an orderly end."""

import signal
from types import FrameType


def exit_when_told() -> None:
    """Have both signals unwind the program, so that every context manager puts its things in order.

    The exit code is then 0. Needs the main thread.
    """
    signal.signal(signal.SIGTERM, _exit)
    signal.signal(signal.SIGINT, _exit)


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
