"""A folder that only one program uses at a time, its children included."""

import fcntl
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO

from microdose.errors import Unavailable

WAIT_S = 10.0
POLL_S = 0.02


def lock_folder(folder: Path) -> IO[str]:
    """The folder's lock: held until the returned file is closed here and in every child that inherited it.

    An owner that was killed may leave a child that needs a moment to save and end: that is waited for.

    Raises:
        Unavailable: a living program holds it.
    """
    path = folder / "lock"
    file = path.open("a+")
    if not (poll(lambda: _locked(file) or _owner_lives(path), WAIT_S) and _locked(file)):
        file.close()
        owner = path.read_text().strip() or "unknown"
        raise Unavailable(
            f"{folder} is in use by another microdose-server (process {owner});"
            " stop that one, or give this one its own MICRODOSE_DATA_DIR"
        )
    file.truncate(0)
    file.write(f"{os.getpid()}\n")
    file.flush()
    return file


def release_folder(file: IO[str]) -> None:
    """Give the lock up, and the owner's name with it: a child that another thread has forked may hold a copy
    until it runs its program, and who comes next shall wait for that rather than take the owner for busy.
    """
    file.truncate(0)
    file.close()


def poll(done: Callable[[], bool], seconds: float) -> bool:
    """Whether `done` came true within `seconds`."""
    deadline = time.monotonic() + seconds
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(POLL_S)
    return True


def _locked(file: IO[str]) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _owner_lives(path: Path) -> bool:
    try:
        os.kill(int(path.read_text()), 0)
    except PermissionError:
        return True
    except (ValueError, ProcessLookupError):
        return False
    return True
