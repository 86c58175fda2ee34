"""Changes to bytes, drawn at random: the same for the same state of the generator."""

from random import Random

EXTREMES = (b"\0", b"\xff", b"\x7f", b"\x80", b"\xff" * 4, b"\0" * 8, b"\xff\xff\xff\xff\x0f", b"99999999999")


def mutate(data: bytes, random: Random) -> bytes:
    """The data with one to four stretches changed, cut, repeated or put elsewhere."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4)):
        at, length = random.randrange(len(changed) + 1), random.choice((0, 1, 1, 2, 4, 8, 64))
        kind = random.randrange(5)
        if kind == 0 and at < len(changed):
            changed[at] ^= 1 << random.randrange(8)
        elif kind == 1:
            changed[at : at + length] = random.randbytes(length)
        elif kind == 2:
            changed[at : at + length] = random.choice(EXTREMES)
        elif kind == 3:
            changed[at:at] = changed[at : at + length]
        else:
            del changed[at : at + length]
    return bytes(changed)
