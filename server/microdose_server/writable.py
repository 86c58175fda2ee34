"""Folders that somebody asks to write into."""

import os
from pathlib import Path

from microdose.errors import BadUpload


def writable(folder: Path) -> Path:
    """The folder, which is made now: refused later, all would be in vain.

    Raises BadUpload, with the reason, if it cannot be made or written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise BadUpload(f"{folder} cannot be made ({error.strerror}): choose another folder") from None
    if not os.access(folder, os.W_OK | os.X_OK):
        raise BadUpload(f"{folder} cannot be written to: choose another folder")
    return folder
