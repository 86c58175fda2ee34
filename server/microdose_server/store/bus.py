"""Redis as the viewers' bus: manifests, events and hot copies of blobs, named as in `microdose.keys`.

snapshot  md:pub:{s:<id>}:manifest     says last_event_id; read it, then follow
log       md:pub:{s:<id>}:events       event `seq` has the stream id <seq>-0, so a gap is seen at once
blobs     md:pub:{b:<digest>}:<i>      1 MiB each, expiring: the truth is on disk
"""

import json
import logging
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import cast

import redis

from microdose import keys
from microdose.manifest import Event, Manifest
from microdose.resources import Results
from microdose_server.store.redis import Entries, Fields, text
from microdose_server.store.scripts import run_script

log = logging.getLogger(__name__)

MAX_EVENTS = 20_000
PUBLISHING = (keys.fence, keys.manifest, keys.events, keys.sequence, keys.drafts, keys.checkpoints)
"""What publish.lua touches."""
HOT_SHARE = 0.75
"""How full copies of blobs may make a Redis with a `maxmemory`: the rest is for what is nowhere else."""
REMOVED_S = 7 * 86_400
"""How long it is known of a removed sequence that there was one."""


@dataclass(frozen=True, slots=True)
class Attempt:
    """One start of a job. `token` is its place in the order of all starts: only the newest may write."""

    job: str
    sequence: str
    token: int


def event_id(seq: int) -> str:
    """The stream id of event number `seq` (from 1)."""
    return f"{seq}-0"


def publish(
    client: redis.Redis, attempt: Attempt, manifest: Manifest, events: Iterable[Event], results: Results
) -> str:
    """Make `manifest` and `events` visible, and the sequence published, in one atomic step.

    The events' `seq` go on from the sequence's last one, and the manifest names the last of them. The
    blobs they name must be in place. Drafts and checkpoints are forgotten. Repeating it changes nothing.

    Returns:
        The stream id of the job's first event.

    Raises:
        Fenced: a newer attempt has taken over, or the sequence was removed. Nothing was written.
    """
    sequence = attempt.sequence
    pairs = [part for event in events for part in (event_id(event.seq), event.to_bytes())]
    answer = run_script(
        client,
        "publish",
        [name(sequence) for name in PUBLISHING],
        [attempt.token, attempt.job, manifest.to_bytes(), MAX_EVENTS, results.model_dump_json(), *pairs],
    )
    if not isinstance(answer, bytes):
        raise TypeError(f"publish.lua answered {answer!r}")
    return answer.decode()


def append(
    client: redis.Redis, attempt: Attempt, manifest: Manifest, events: Iterable[Event], record: Fields
) -> None:
    """Make `manifest`, `events` and the fields of the sequence's `record` visible in one atomic step.

    For live sequences, which are published piece by piece. Otherwise as `publish`.

    Raises:
        Fenced: a newer attempt has taken over, or the sequence was removed. Nothing was written.
    """
    sequence = attempt.sequence
    fields = [text(part) for pair in record.items() for part in pair]
    pairs = [part for event in events for part in (event_id(event.seq), event.to_bytes())]
    run_script(
        client,
        "append",
        [keys.fence(sequence), keys.manifest(sequence), keys.events(sequence), keys.sequence(sequence)],
        [attempt.token, manifest.to_bytes(), MAX_EVENTS, len(fields), *fields, *pairs],
    )


def tell_removed(client: redis.Redis, sequence: str) -> None:
    """Make the event `removed` the last of a sequence, and the only one. The fence must be gone."""
    key = keys.events(sequence)
    newest = cast(Entries, client.xrevrange(key, count=1))
    seq = int(text(newest[0][0]).partition("-")[0]) + 1 if newest else 1
    event = Event(seq=seq, type="removed", time=time.time_ns() // 1_000_000)
    with client.pipeline() as pipeline:
        pipeline.xadd(key, {"event": event.to_bytes()}, id=event_id(seq), maxlen=1, approximate=False)
        pipeline.expire(key, REMOVED_S)
        pipeline.execute()


def is_removed(client: redis.Redis, sequence: str) -> bool:
    """Whether this sequence was there, and was removed lately."""
    newest = cast(Entries, client.xrevrange(keys.events(sequence), count=1))
    return any(json.loads(fields[b"event"])["type"] == "removed" for _, fields in newest)


def read_manifest(client: redis.Redis, sequence: str) -> bytes | None:
    """The manifest's JSON, or None before the first publication."""
    return cast(bytes | None, client.get(keys.manifest(sequence)))


def read_stream(client: redis.Redis, key: str, after: str, *, count: int) -> list[tuple[str, bytes]]:
    """Up to `count` entries of a stream, sequence's or job's, later than the id `after`: (id, event JSON)."""
    answer = cast(list[tuple[bytes, Entries]], client.xread({key: after}, count=count))
    return [(text(name), fields[b"event"]) for _, entries in answer for name, fields in entries]


def put_hot_blob(client: redis.Redis, digest: str, data: bytes, media_type: str, *, seconds: int) -> None:
    """Keep a copy of a blob for viewers on the bus, for `seconds`, if Redis has room for it and takes it.

    No more than a copy: its absence is told to the log, and viewers get the blob over HTTP.
    """
    try:
        if _has_room(client, len(data)):
            _put_chunks(client, digest, data, media_type, seconds)
        else:
            log.warning("no copy of %s: %.0f %% of Redis would be full", digest, 100 * HOT_SHARE)
    except redis.ResponseError as error:
        log.warning("no copy of %s: Redis refuses: %s", digest, error)


def _has_room(client: redis.Redis, size: int) -> bool:
    memory = client.info("memory")
    most = int(memory.get("maxmemory", 0))  # 0: whatever the machine has
    return not most or int(memory["used_memory"]) + size <= HOT_SHARE * most


def _put_chunks(client: redis.Redis, digest: str, data: bytes, media_type: str, seconds: int) -> None:
    """The meta hash comes last: it says that all is there."""
    starts = range(0, len(data), keys.CHUNK)
    for i, start in enumerate(starts):
        client.set(keys.blob_chunk(digest, i), data[start : start + keys.CHUNK], ex=seconds)
    meta: Fields = {"size": len(data), "chunks": len(starts), "media_type": media_type}
    with client.pipeline() as pipeline:
        pipeline.hset(keys.blob_meta(digest), mapping=meta)
        pipeline.expire(keys.blob_meta(digest), seconds)
        pipeline.execute()


def cool_hot_blob(client: redis.Redis, digest: str, size: int, *, seconds: int) -> None:
    """Let the copy of a blob go after `seconds`."""
    with client.pipeline(transaction=False) as pipeline:
        for i in range(-(-size // keys.CHUNK)):
            pipeline.expire(keys.blob_chunk(digest, i), seconds, lt=True)
        pipeline.expire(keys.blob_meta(digest), seconds, lt=True)
        pipeline.execute()
