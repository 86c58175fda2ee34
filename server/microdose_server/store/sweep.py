"""Removing blobs that nothing names: the sweeping half of garbage collection.

                    named again, or put again
                  +---------------------------+
    named --> unnamed, noted with the time --> removed after the grace time

So what a viewer is just fetching, or a job is about to publish, has the whole grace time left. Two looks at
least `grace_s` apart must find a blob unnamed, and nobody may have put it in between.
"""

from collections.abc import Mapping, Set
from dataclasses import dataclass

from microdose_server.store.blobs import BlobStore


@dataclass(frozen=True, slots=True)
class Swept:
    """What one sweep did. unnamed: digest to the time it was first found unnamed, for the next sweep."""

    removed: int
    freed: int
    unnamed: dict[str, float]


def sweep(
    store: BlobStore, named: Set[str], unnamed: Mapping[str, float], *, now: float, grace_s: float
) -> Swept:
    """Remove the blobs that `named` lacks and that were `unnamed` for `grace_s` seconds at the time `now`."""
    found = {digest: min(unnamed.get(digest, now), now) for digest in store.digests() if digest not in named}
    removed = freed = 0
    for digest in [digest for digest, since in found.items() if now - since >= grace_s]:
        size = store.size(digest)
        if store.discard(digest, now - grace_s):
            removed, freed = removed + 1, freed + size
            del found[digest]
    store.tidy(now - grace_s)
    return Swept(removed, freed, found)
