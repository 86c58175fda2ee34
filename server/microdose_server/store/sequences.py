"""The server's record of every sequence and its frames, in Redis.

    open --> queued <--> running --> published
               ^  |         |
               |  +---------+--> failed, cancelled
               +-- a new job ----------+

A sequence's state is the truth about its job as well: both its change and the publication happen in one
script, on one Redis slot, behind the fence. The job's own record follows it (see `jobs.outcome`).
"""

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Literal, TypeAlias, TypeVar, cast

import redis
from redis.client import Pipeline

from microdose import keys
from microdose.errors import BadUpload, NotFound
from microdose.ids import new_id
from microdose.problem import Problem, ProblemError, make_problem
from microdose.resources import Frame, Page, Sequence, SequenceCreate, SequenceState
from microdose_server.settings import Limits
from microdose_server.store import arrivals, quota
from microdose_server.store.bus import Attempt, tell_removed
from microdose_server.store.fields import from_fields, to_field, to_fields
from microdose_server.store.redis import Fields, text
from microdose_server.store.scripts import run_script

IN_WORK = (SequenceState.QUEUED, SequenceState.RUNNING)
RESTARTABLE = (SequenceState.OPEN, SequenceState.FAILED, SequenceState.CANCELLED)

DEFAULT_LIMITS = Limits()
NOBODY = "nobody"
"""In place of a key, of what comes from no publisher."""

T = TypeVar("T")
Fence: TypeAlias = tuple[int | Literal[""], Literal["new", "same"]]
"""Which token must be the newest, and what becomes of it: see state.lua."""


class Sequences:
    """All sequences of one Redis."""

    def __init__(self, client: redis.Redis) -> None:
        self.client = client

    def create(
        self, request: SequenceCreate, owner: str = NOBODY, limits: Limits = DEFAULT_LIMITS
    ) -> Sequence:
        """A new, empty, open sequence of the API key `owner`.

        Raises:
            ProblemError: over-quota; the key has as many sequences as it may.
        """
        sequence = Sequence(
            id=new_id(), state=SequenceState.OPEN, created=datetime.now(UTC), **request.model_dump()
        )

        def record(pipeline: Pipeline) -> None:
            quota.require(pipeline, owner, "sequences", 1, limits)
            pipeline.multi()
            fields = to_fields(sequence, exclude={"frames"}) | {"owner": owner}
            pipeline.hset(keys.sequence(sequence.id), mapping=fields)
            pipeline.zadd(keys.sequences(), {sequence.id: 0})
            quota.charge(pipeline, owner, sequences=1)

        self._transaction(record, keys.api_usage(owner))
        return sequence

    def get(self, sequence: str) -> Sequence:
        """Raises NotFound."""
        with self.client.pipeline() as pipeline:
            pipeline.hgetall(keys.sequence(sequence))
            pipeline.hlen(keys.frames(sequence))
            fields, frames = pipeline.execute()
        if not fields:
            raise NotFound(f"no sequence {sequence}")
        return from_fields(Sequence, fields, frames=frames)

    def page(self, *, limit: int = 50, cursor: str | None = None) -> Page[Sequence]:
        """Newest first; `cursor` is the `next` of the page before."""
        ids, following = page_of_ids(self.client, keys.sequences(), limit, cursor)
        found = [sequence for sequence in map(self._find, ids) if sequence is not None]
        return Page[Sequence](items=tuple(found), next=following)

    def put_frame(self, sequence: str, frame: Frame, limits: Limits) -> bool:
        """Record frame number `frame.n`; True when it is new, False when it replaces one.

        Raises:
            NotFound: no such sequence.
            ProblemError: conflict; the sequence takes no more frames. over-quota; its owner's key does not.
                As `arrivals.admit` for a live one.
            BadUpload: a number, or pixels in all, above the limits, of which a live one has neither.
        """
        record, frames = keys.sequence(sequence), keys.frames(sequence)
        owner = self._owner(sequence)

        def record_frame(pipeline: Pipeline) -> bool:
            old = self._admitted(pipeline, sequence, owner, frame, limits)
            following = int(pipeline.hget(record, "next") or 0)
            more = frame.size - (old.size if old else 0)
            pipeline.multi()
            pipeline.hset(frames, str(frame.n), frame.model_dump_json())
            fields: Fields = {"next": str(max(following, frame.n + 1)), "last_put": str(time.time())}
            pipeline.hset(record, mapping=fields)
            pipeline.hincrby(record, "pixels", _more_pixels(frame, old))
            pipeline.hincrby(record, "size", more)
            quota.charge(pipeline, owner, byte_count=more)
            return old is None

        return self._transaction(record_frame, record, frames, keys.api_usage(owner))

    def require_admission(self, sequence: str, frame: Frame, limits: Limits) -> None:
        """Return if `put_frame` would record this frame now; it looks again. Raises as it does."""
        self._admitted(self.client, sequence, self._owner(sequence), frame, limits)

    def frame(self, sequence: str, n: int) -> Frame | None:
        """Frame number `n`, if it is there."""
        found = self.client.hget(keys.frames(sequence), str(n))
        return Frame.model_validate_json(found) if found else None

    def frames(self, sequence: str) -> list[Frame]:
        """All frames so far, by number."""
        found = [Frame.model_validate_json(data) for data in self.client.hvals(keys.frames(sequence))]
        return sorted(found, key=lambda frame: frame.n)

    def queue(self, sequence: str, job: str, also: Callable[[Pipeline], object]) -> None:
        """Give a sequence that is open, or whose last job failed, to a new job; a live one but once.

        `also` adds to the same transaction.

        Raises:
            NotFound: no such sequence.
            ProblemError: conflict; a job has it already, or it is published.
            BadUpload: it has no frames, or numbers are missing between them.
        """

        def hand_over(pipeline: Pipeline) -> None:
            live = pipeline.hget(keys.sequence(sequence), "live") == b"true"
            states = (SequenceState.OPEN,) if live else RESTARTABLE
            self._require(pipeline, sequence, states, "is in work or done already")
            if not live:
                _require_dense(sequence, [int(n) for n in pipeline.hkeys(keys.frames(sequence))])
            pipeline.multi()
            changed = {"state": SequenceState.QUEUED, "job": job, "error": None}
            fields: Fields = {name: to_field(value) for name, value in changed.items()}
            pipeline.hset(keys.sequence(sequence), mapping=fields)
            also(pipeline)

        self._transaction(hand_over, keys.sequence(sequence), keys.frames(sequence))

    def take_over(
        self, sequence: str, job: str, state: SequenceState, error: Problem | None = None
    ) -> Attempt | None:
        """Put the sequence in `state` for its job, and shut out every earlier attempt.

        Returns:
            The attempt that may write from now on; None when the sequence is published, ended, removed, or
            in the hands of another job.
        """
        return self._change(sequence, job, ("", "new"), state, error)

    def overtake(
        self, attempt: Attempt, state: SequenceState, error: Problem | None = None
    ) -> Attempt | None:
        """As `take_over`, provided that `attempt` is still the newest.

        Raises:
            Fenced: it is not; somebody else was faster.
        """
        return self._change(attempt.sequence, attempt.job, (attempt.token, "new"), state, error)

    def give_up(self, attempt: Attempt, state: SequenceState, error: Problem | None = None) -> bool:
        """Put the sequence in `state` for this very attempt; False when it is no longer in its job's hands.

        Raises:
            Fenced: a newer attempt has taken over.
        """
        change = self._change(attempt.sequence, attempt.job, (attempt.token, "same"), state, error)
        return change is not None

    def delete(self, sequence: str) -> None:
        """Remove the record, the manifest and the frames; its blobs may be another's too and stay.

        Viewers are told by a last event, the only one that stays, for a week.

        Raises:
            NotFound: no such sequence.
        """
        record = keys.sequence(sequence)
        if not self.client.exists(record):
            raise NotFound(f"no sequence {sequence}")
        self.client.delete(keys.fence(sequence))  # from now on nobody publishes
        tell_removed(self.client, sequence)
        work = (keys.frames, keys.drafts, keys.checkpoints, keys.fence, keys.lease)
        everything = (keys.sequence, keys.manifest, *work)

        def remove(pipeline: Pipeline) -> None:
            owner, size = pipeline.hmget(record, ["owner", "size"])
            if owner is None:
                raise NotFound(f"no sequence {sequence}")
            pipeline.multi()
            pipeline.zrem(keys.sequences(), sequence)
            pipeline.delete(*(name(sequence) for name in everything))
            quota.charge(pipeline, text(owner), byte_count=-int(size or 0), sequences=-1)

        self._transaction(remove, record)

    def _change(
        self,
        sequence: str,
        job: str,
        fence: Fence,
        state: SequenceState,
        error: Problem | None,
    ) -> Attempt | None:
        answer = run_script(
            self.client,
            "state",
            [keys.fence(sequence), keys.sequence(sequence)],
            [to_field(job), *fence, "state", to_field(state), "error", to_field(error)],
        )
        return Attempt(job, sequence, cast(int, answer)) if answer else None

    def _admitted(
        self, reader: redis.Redis, sequence: str, owner: str, frame: Frame, limits: Limits
    ) -> Frame | None:
        """The frame that `frame` would replace, if any. Raises as `put_frame`."""
        record = keys.sequence(sequence)
        live = reader.hget(record, "live") == b"true"
        states = arrivals.TAKING if live else (SequenceState.OPEN,)
        self._require(reader, sequence, states, "takes no more frames")
        before = reader.hget(keys.frames(sequence), str(frame.n))
        old = Frame.model_validate_json(before) if before else None
        if live:
            arrivals.admit(reader, sequence, frame, old, limits)
        else:
            pixels = int(reader.hget(record, "pixels") or 0) + _more_pixels(frame, old)
            _require_within(limits, frame.n, pixels)
        quota.require(reader, owner, "bytes", frame.size - (old.size if old else 0), limits)
        return old

    def _owner(self, sequence: str) -> str:
        return text(self.client.hget(keys.sequence(sequence), "owner") or NOBODY)

    def _find(self, sequence: str) -> Sequence | None:
        try:
            return self.get(sequence)
        except NotFound:  # removed between the index and the record
            return None

    def _require(
        self, reader: redis.Redis, sequence: str, states: tuple[SequenceState, ...], otherwise: str
    ) -> None:
        state = reader.hget(keys.sequence(sequence), "state")
        if state is None:
            raise NotFound(f"no sequence {sequence}")
        if text(state) not in map(to_field, states):
            detail = f"sequence {sequence} is {text(state)} and {otherwise}"
            raise ProblemError(make_problem("conflict", detail))

    def _transaction(self, change: Callable[[Pipeline], T], *watched: str) -> T:
        step = cast(Callable[[Pipeline], None], change)  # redis-py's annotation forgets the value
        return cast(T, self.client.transaction(step, *watched, value_from_callable=True))


def page_of_ids(
    client: redis.Redis, index: str, limit: int, cursor: str | None
) -> tuple[list[str], str | None]:
    """Up to `limit` ids of an index whose ids sort by time, newest first, and the next page's cursor."""
    start = f"({cursor}" if cursor else "+"
    found = [text(name) for name in client.zrevrangebylex(index, start, "-", start=0, num=limit + 1)]
    return found[:limit], found[limit - 1] if len(found) > limit else None


def _more_pixels(frame: Frame, old: Frame | None) -> int:
    return frame.width * frame.height - (old.width * old.height if old else 0)


def _require_dense(sequence: str, numbers: list[int]) -> None:
    if not numbers:
        raise BadUpload(f"sequence {sequence} has no frames; put at least one, then complete it")
    missing = sorted(set(range(max(numbers) + 1)) - set(numbers))
    if missing:
        some = ", ".join(map(str, missing[:10]))
        raise BadUpload(
            f"sequence {sequence} lacks {len(missing)} frames: {some}; put them, then complete it"
        )


def _require_within(limits: Limits, n: int, pixels: int) -> None:
    """Raises BadUpload for a frame of number n that would bring its sequence to `pixels`, above a limit."""
    if not 0 <= n < limits.max_frames:
        raise BadUpload(f"frame {n}: a sequence has at most {limits.max_frames}, from 0 on")
    if pixels > limits.max_sequence_pixels:
        raise BadUpload(f"the sequence would have {pixels} pixels; the limit is {limits.max_sequence_pixels}")
