"""What must hold of a published sequence, whatever died meanwhile.

manifest   names all of its pictures           else lost
log        announces each of them once         else doubled
blobs      match their digests, and decode     else corrupt
"""

from collections.abc import Iterable, Sequence
from itertools import pairwise

import redis

from benchmarks.parts.tally import Tally
from microdose import keys
from microdose.errors import MicrodoseError, Unavailable
from microdose.manifest import Event, Manifest
from microdose_client import Client
from microdose_client.play import DecodedPicture
from microdose_server.store.bus import read_stream

PICTURES, WIDTH, HEIGHT = 12, 96, 64


def judge(client: Client, bus: redis.Redis, sequence: str, pictures: int, tally: Tally) -> None:
    """Note what is amiss with a sequence of so many pictures. Raises Unavailable."""
    manifest = client.manifest(sequence)
    numbers = [segment.n for segment in manifest.segments]
    entries = read_stream(bus, keys.events(sequence), "0-0", count=1000)
    told = numbers_told(data for _, data in entries)
    doubled = len(told) - len(set(told)) + abs(len(entries) - manifest.seq)
    good = decodable(client, manifest, tally)
    tally.note("lost", len(set(range(pictures)) - set(numbers)), f"{sequence} has {numbers}")
    tally.note("doubled", doubled, f"{sequence} told {told} in {len(entries)} events")
    tally.note("corrupt", len(numbers) - good, f"pictures of {sequence}")


def judge_view(sequence: str, seen: Sequence[int], pictures: int, tally: Tally) -> None:
    """Note what is amiss with what a viewer saw who was there from the first picture to the last."""
    tally.note("lost", len(set(range(pictures)) - set(seen)), f"a viewer of {sequence} saw {list(seen)}")
    disorder = sum(later <= earlier for earlier, later in pairwise(seen))
    tally.note("doubled", disorder, f"a viewer of {sequence} saw {list(seen)}")


def numbers_told(events: Iterable[bytes]) -> list[int]:
    """The pictures that events announce, in their order."""
    told = (Event.model_validate_json(data) for data in events)
    return [event.segment.n for event in told if event.segment]


def decodable(client: Client, manifest: Manifest, tally: Tally) -> int:
    """How many pictures come out, in order, until one does not."""
    good = 0
    try:
        for picture in client.pictures(manifest.sequence, threads=1):
            good += is_sound(picture)
    except Unavailable:
        raise
    except MicrodoseError as error:
        tally.why.append(f"{manifest.sequence}: {error}")
    return good


def is_sound(picture: DecodedPicture) -> bool:
    """Whether it has the form of those that were sent."""
    return picture.pixels.shape == (HEIGHT, WIDTH, 3)
