"""Folders that jobs put large things aside in, on the machine that works: gone with the job, or soon after.

A folder is locked for as long as the process that made it lives, however that ends.
"""

import fcntl
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from tempfile import TemporaryDirectory

PREFIX = "targets-"
NEW_S = 60.0
"""A folder younger than this may just be about to be locked."""


@contextmanager
def scratch(data_dir: Path) -> Iterator[Path]:
    """A new, empty folder inside `data_dir`, removed at the end."""
    with TemporaryDirectory(dir=data_dir, prefix=PREFIX) as folder, _open(Path(folder)) as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield Path(folder)


def clear_scratch(data_dir: Path, before: float | None = None) -> int:
    """Remove the folders of dead processes, if they are older than the time `before`, by default a minute
    ago; returns how many went.
    """
    before = time.time() - NEW_S if before is None else before
    return sum(_clear(folder, before) for folder in data_dir.glob(f"{PREFIX}*"))


def _clear(folder: Path, before: float) -> bool:
    with suppress(FileNotFoundError), _open(folder) as handle:  # its own process may be faster
        if folder.stat().st_mtime < before:
            with suppress(BlockingIOError):
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(folder)
                return True
    return False


@contextmanager
def _open(folder: Path) -> Iterator[int]:
    handle = os.open(folder, os.O_RDONLY)
    try:
        yield handle
    finally:
        os.close(handle)
