"""The last event of a live sequence whose job is stopped from outside: viewers must not wait for ever."""

import redis

from microdose import keys
from microdose.manifest import parse_manifest
from microdose_server.jobs.edition import Edition, now_ms
from microdose_server.store.bus import Attempt, append, read_manifest


def hang_up(client: redis.Redis, sequence: str, reason: str) -> None:
    """End what a sequence has published, unless it has ended or nothing is there yet.

    Raises:
        Fenced: somebody else does so just now.
    """
    data, token = read_manifest(client, sequence), client.get(keys.fence(sequence))
    if data is None or token is None or (manifest := parse_manifest(data)).ended:
        return
    ended = Edition(manifest).end(reason[:200], now_ms())
    assert ended.event is not None
    whole = ended.manifest.model_copy(update={"bytes": manifest.bytes})
    append(client, Attempt("", sequence, int(token)), whole, [ended.event], {})
