"""Where both ends keep what they fetched once."""

import os
from pathlib import Path


def cache_dir() -> Path:
    """`$MICRODOSE_CACHE`, else `microdose` in the user's cache folder (XDG base directory specification)."""
    chosen, home = os.environ.get("MICRODOSE_CACHE"), os.environ.get("XDG_CACHE_HOME")
    if chosen:
        return Path(chosen)
    return (Path(home) if home else Path.home() / ".cache") / "microdose"
