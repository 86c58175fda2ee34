"""The frames of a live sequence: which may come, and which is next.

record   done: number after the last published one · complete: whether the publisher has said so
frames   those that are listed in the manifest, and those that wait
"""

from dataclasses import dataclass

import redis
from redis.client import Pipeline

from microdose import keys
from microdose.errors import NotFound
from microdose.problem import ProblemError, make_problem
from microdose.resources import Frame, SequenceState
from microdose_server.settings import Limits
from microdose_server.store import quota
from microdose_server.store.fields import to_field
from microdose_server.store.redis import text

TAKING = (SequenceState.OPEN, SequenceState.QUEUED, SequenceState.RUNNING)


@dataclass(frozen=True, slots=True)
class Arrived:
    """What waits to be published: the first frame if there is one. `complete`: no more will come after it."""

    first: Frame | None
    complete: bool


def look(client: redis.Redis, sequence: str, done: int) -> Arrived:
    """The first frame of number `done` or more. Raises NotFound for a sequence that was removed."""
    with client.pipeline() as pipeline:
        pipeline.hmget(keys.sequence(sequence), "state", "complete")
        pipeline.hkeys(keys.frames(sequence))
        (state, complete), numbers = pipeline.execute()
    if state is None:
        raise NotFound(f"no sequence {sequence}")
    waiting = [n for n in map(int, numbers) if n >= done]
    found = client.hget(keys.frames(sequence), str(min(waiting))) if waiting else None
    return Arrived(Frame.model_validate_json(found) if found else None, complete == b"true")


def complete(client: redis.Redis, sequence: str) -> None:
    """Note that no more frames will come. Raises NotFound for a sequence that was removed."""
    record = keys.sequence(sequence)

    def note(pipeline: Pipeline) -> None:
        if not pipeline.hexists(record, "state"):
            raise NotFound(f"no sequence {sequence}")
        pipeline.multi()
        pipeline.hset(record, "complete", to_field(True))

    client.transaction(note, record)


def forget(client: redis.Redis, sequence: str, numbers: list[int]) -> None:
    """Drop the records of frames that the manifest no longer lists; their owner may send as many again.

    Of a sequence that was removed nothing is left to drop, nor to give back.
    """
    record, frames, names = keys.sequence(sequence), keys.frames(sequence), list(map(str, numbers))

    def drop(pipeline: Pipeline) -> None:
        state, owner = pipeline.hmget(record, "state", "owner")
        kept = [Frame.model_validate_json(data) for data in pipeline.hmget(frames, names) if data]
        pipeline.multi()
        if state is None:
            return
        size = sum(frame.size for frame in kept)
        pipeline.hdel(frames, *names)
        pipeline.hincrby(record, "pixels", -sum(frame.width * frame.height for frame in kept))
        pipeline.hincrby(record, "size", -size)
        if owner is not None:
            quota.charge(pipeline, text(owner), byte_count=-size)

    client.transaction(drop, record, frames)


def admit(reader: redis.Redis, sequence: str, frame: Frame, old: Frame | None, limits: Limits) -> None:
    """Return if a live sequence takes this frame, new or in place of `old`, now. Only reads.

    Raises:
        ProblemError: conflict, it is behind what is published, or the sequence is complete;
            too-many-requests, as many as may be kept wait already.
    """
    record, frames = keys.sequence(sequence), keys.frames(sequence)
    done, complete = reader.hmget(record, "done", "complete")
    if old is not None and old.digest == frame.digest:
        return
    if complete == b"true":
        raise ProblemError(make_problem("conflict", f"sequence {sequence} is complete"))
    if frame.n < int(done or 0):
        detail = f"frame {frame.n} comes too late: sequence {sequence} goes on at {int(done or 0)}"
        raise ProblemError(make_problem("conflict", detail))
    waiting = sum(int(n) >= int(done or 0) for n in reader.hkeys(frames))
    if old is None and waiting >= limits.max_frames:
        detail = f"{waiting} frames of sequence {sequence} wait to be published; send more when fewer do"
        raise ProblemError(make_problem("too-many-requests", detail))
