"""SIGTERM and SIGINT as an orderly end."""

import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)


def exit_when_told() -> None:
    """Have both signals unwind the program, so that every context manager puts its things in order.

    The exit code is then 0. Needs the main thread.
    """
    for each in SIGNALS:
        signal.signal(each, _exit)


@contextmanager
def noting_signals() -> Iterator[Callable[[], bool]]:
    """Within, both signals do nothing but make what this yields say True: for work in steps, which ends after
    the one under way. Needs the main thread.
    """
    told = Event()
    before = {each: signal.signal(each, lambda signum, frame: told.set()) for each in SIGNALS}
    try:
        yield told.is_set
    finally:
        for each, handler in before.items():
            signal.signal(each, handler)


def _exit(signum: int, frame: FrameType | None) -> None:
    raise SystemExit(0)
