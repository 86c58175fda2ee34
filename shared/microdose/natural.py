"""The order of file names as people read them: frame2 before frame10, at both ends."""

import re


def natural_key(name: str) -> tuple[tuple[int, int, str], ...]:
    """Sort key by which numbers inside names count as numbers."""
    parts = re.findall(r"[0-9]{1,18}|[^0-9]+|[0-9]", name.casefold())
    return tuple((0, int(p), "") if p.isascii() and p.isdigit() else (1, 0, p) for p in parts)
