"""Content addresses: immutable bytes are named by their SHA-256 and checked against it before use."""

import base64
import hashlib
import re
from typing import Annotated

from pydantic import StringConstraints

from microdose.errors import DigestMismatch

PATTERN = r"^sha256:[0-9a-f]{64}$"
MAX_BLOB_BYTES = 64 * 2**20

Digest = Annotated[str, StringConstraints(pattern=PATTERN)]
"""`sha256:` and 64 lower-case hexadecimal digits."""


def is_digest(text: str) -> bool:
    """Whether `text` can be a digest; if so, it is fit for a key or a path."""
    return re.fullmatch(PATTERN[1:-1], text) is not None


def digest_of(data: bytes | bytearray | memoryview) -> str:
    """The digest that names `data`."""
    return "sha256:" + hashlib.sha256(data).hexdigest()


def verify(data: bytes | bytearray | memoryview, digest: str) -> None:
    """Raise DigestMismatch unless `digest` names `data`."""
    actual = digest_of(data)
    if actual != digest:
        raise DigestMismatch(f"{len(data)} bytes have the digest {actual}, not {digest}: fetch them again")


def repr_digest(digest: str) -> str:
    """The digest as the HTTP field Repr-Digest (RFC 9530) has it."""
    raw = bytes.fromhex(digest.removeprefix("sha256:"))
    return f"sha-256=:{base64.b64encode(raw).decode()}:"


def prefix(digest: str) -> bytes:
    """The first 8 raw bytes of a digest: enough for a header to say which base it means."""
    if not is_digest(digest):
        raise DigestMismatch(f"{digest[:80]!r} is not a digest (sha256: and 64 hexadecimal digits)")
    return bytes.fromhex(digest[7:23])
