"""Range requests (RFC 9110, 14) that the file response may be trusted with."""

import re
from collections.abc import MutableMapping
from typing import Any

from starlette.datastructures import Headers
from starlette.exceptions import HTTPException

_RANGE = re.compile(r"bytes\s*=\s*(.+)", re.IGNORECASE)
_PART = re.compile(r"\s*([0-9]{0,18})-([0-9]{0,18})\s*")


def settle(scope: MutableMapping[str, Any], etag: str, size: int) -> None:
    """Leave a Range header in `scope` only if it can be served from `size` bytes.

    One that is malformed, of another unit, or conditional on other bytes is dropped: the whole is the right
    answer then. Raises HTTPException 416 for one that lies outside.
    """
    headers = Headers(scope=scope)
    if "range" not in headers:
        return
    starts = _starts(headers["range"], size)
    if starts is None or headers.get("if-range", etag) != etag:
        scope["headers"] = [(name, value) for name, value in scope["headers"] if name != b"range"]
    elif max(starts) >= size:
        detail = f"{headers['range'][:80]} lies outside the blob of {size} bytes"
        raise HTTPException(416, detail, {"Content-Range": f"bytes */{size}"})


def _starts(text: str, size: int) -> list[int] | None:
    """First byte of each range; None if any of them is malformed."""
    whole = _RANGE.fullmatch(text)
    parts = [_PART.fullmatch(part) for part in whole[1].split(",")] if whole else [None]
    starts = []
    for part in parts:
        if part is None or part[1] == part[2] == "" or (part[1] and part[2] and int(part[1]) > int(part[2])):
            return None
        starts.append(int(part[1]) if part[1] else max(size - int(part[2]), 0))
    return starts
