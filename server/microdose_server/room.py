"""Room on a disk: some of it stays free for Redis, whose log of writes often is on the same one."""

import errno
import shutil
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from microdose.errors import NoSpace

FULL = (errno.ENOSPC, errno.EDQUOT)
"""How the system says that a disk, or this user's part of it, is full."""
REMEDY = "make room there, or set MICRODOSE_DATA_DIR to a larger disk or MICRODOSE_RESERVE_BYTES to less"


@contextmanager
def room(folder: Path, coming: int, reserve: int) -> Iterator[None]:
    """Write `coming` bytes below `folder` in here.

    Raises NoSpace where that would not leave `reserve` bytes of its disk free, or where the disk is full.
    """
    where, free = f"{folder} of {socket.gethostname()}", shutil.disk_usage(folder).free
    if free - coming < reserve:
        raise NoSpace(f"{where} has {free} bytes free: {coming} would not leave {reserve}; {REMEDY}")
    try:
        yield
    except OSError as error:
        if error.errno not in FULL:
            raise
        raise NoSpace(f"{where} took no more ({error.strerror}); {REMEDY}") from error
