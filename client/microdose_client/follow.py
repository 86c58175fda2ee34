"""Following a sequence: from a snapshot through every outage to its end.

manifest ─► events ─► …   cut off: rest, come back with the last event's id
    ▲                 └── events are gone: rest, read the manifest again
    └──────────────────────┘
"""

from collections.abc import AsyncGenerator
from contextlib import aclosing

from microdose.errors import Unavailable
from microdose.manifest import Manifest, SegmentEntry
from microdose.patience import Retry
from microdose.problem import ProblemError
from microdose_client.outage import Trouble, may_pass
from microdose_client.place import Action, Missed, Place
from microdose_client.reader import Reader


async def follow(reader: Reader, manifest: Manifest, place: Place, retry: Retry) -> AsyncGenerator[Action]:
    """What to do, from `manifest` on until the sequence ends.

    Raises: Removed; Unavailable after an outage of `Retry.outage_s`; CorruptStream,
    UnsupportedVersion; ProblemError for a refusal that will not pass.
    """
    for action in place.snapshot(manifest):
        yield action
    outage, gap = Trouble(retry), Trouble(retry)
    while not place.ended():
        try:
            if gap.tries:
                for action in place.snapshot(await reader.manifest(place.sequence)):
                    yield action
            turn = outage.tries + gap.tries  # what one source lacks, the next may have
            async with aclosing(reader.events(place.sequence, place.after, turn)) as events:
                async for heard in events:
                    outage.over()
                    if heard is None:
                        continue
                    if heard.event is None:
                        raise Missed
                    for action in place.event(heard.id, heard.event):
                        yield action
                    gap.over()
                    if place.ended():
                        return
            await outage.rest("the server went away")
        except Missed:
            await gap.rest("the log has a gap")
        except (Unavailable, ProblemError) as error:
            if not may_pass(error):
                raise
            await outage.rest(error)


async def has_left(reader: Reader, sequence: str, segment: SegmentEntry) -> bool:
    """Whether a picture has left the window of pictures that a live sequence keeps."""
    manifest = await reader.manifest(sequence)
    return all(entry.n != segment.n for entry in manifest.segments)
