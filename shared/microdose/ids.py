"""Identifiers of sequences and jobs: 128 bits, sortable by time (UUIDv7-like), as 26 letters and digits.

An event's is that of its entry in a Redis stream: one or two decimal numbers, as `7-0`.
"""

import re
import secrets
import time
from typing import Annotated

from pydantic import StringConstraints

PATTERN = r"^[a-z0-9]{26}$"

EVENT_PATTERN = r"^[0-9]{1,20}(-[0-9]{1,20})?$"

Id = Annotated[str, StringConstraints(pattern=PATTERN)]
EventId = Annotated[str, StringConstraints(pattern=EVENT_PATTERN)]

ALPHABET = "0123456789abcdefghjkmnpqrstvwxyz"  # Crockford's base 32: sorts like the number, no i, l, o, u


def new_id() -> str:
    """48 bits of milliseconds since 1970, then 80 random bits."""
    number = (time.time_ns() // 1_000_000) << 80 | secrets.randbits(80)
    return "".join(ALPHABET[number >> shift & 31] for shift in range(125, -1, -5))


def is_id(text: str) -> bool:
    """Whether `text` can be an identifier; if so, it is fit for a key or a path."""
    return re.fullmatch(PATTERN[1:-1], text) is not None


def is_event_id(text: str) -> bool:
    """Whether `text` can be the id of an event; if so, it is fit for a header and for Redis."""
    return re.fullmatch(EVENT_PATTERN[1:-1], text) is not None
