"""Every format that is read: what reads it, a valid document, and changes to one.

Half of the blobs get right CRCs again, so that what lies behind those is reached too.
"""

import io
from collections.abc import Callable
from random import Random

from benchmarks.parts.mutate import mutate
from microdose.wire import Unit, read_blob, write_blob

FRAMED = ("blob", "segment", "picture", "dose")

Reader = Callable[[bytes], object]


def readers() -> dict[str, tuple[Reader, bytes]]:
    """Every format: what reads it, and a valid document."""
    from microdose_server.intake.archive import read_zip
    from microdose_server.intake.picture import read_picture
    from microdose_server.settings import Limits
    from tests.photos import encode, pack, photo
    from tests.property.test_hostile_bytes import READERS

    limits = Limits(max_pixels=1_000_000, max_picture_bytes=1 << 20)
    png, jpeg = encode(photo(1)), encode(photo(1), "JPEG")
    return READERS | {
        "png": (lambda data: read_picture(data, limits), png),
        "jpeg": (lambda data: read_picture(data, limits), jpeg),
        "zip": (lambda data: list(read_zip(io.BytesIO(data), limits)), pack(("a.png", png), ("b.jpg", jpeg))),
    }


def hostile_document(kind: str, valid: bytes, random: Random) -> bytes:
    """One input of a kind; of framed ones every other has right CRCs."""
    if kind not in FRAMED or random.random() < 0.5:
        return mutate(valid, random)
    units = list(read_blob(valid)[:-1])
    n = random.randrange(len(units))
    payload = mutate(units[n].payload, random)
    units[n] = Unit(units[n].type, payload[: len(units[n].payload)] if n == 0 else payload)
    return write_blob(units)
