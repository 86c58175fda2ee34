"""Conditional requests (RFC 9110, 13)."""


def matches(condition: str | None, etag: str) -> bool:
    """Whether an If-None-Match header names `etag`, weakly or not, or anything."""
    if condition is None:
        return False
    names = [name.strip().removeprefix("W/") for name in condition.split(",")]
    return etag in names or names == ["*"]
