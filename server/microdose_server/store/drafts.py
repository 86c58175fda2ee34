"""The records of what a job keeps of its work for another attempt, behind the fence: see `jobs.drafts` and
`jobs.checkpoints`.
"""

import redis

from microdose import keys
from microdose.digest import Digest
from microdose.document import Document
from microdose_server.store.bus import Attempt
from microdose_server.store.redis import text
from microdose_server.store.scripts import run_script

DISTILLATION = "distil"


class Draft(Document):
    """An encoded picture: of which frame and for which base, and its segment on the shelf of originals; once
    it is refined, that segment too, and a digest of what it was refined for.

    One of an earlier version may name the teacher's picture as well. That is ignored, and so collected: the
    picture is painted again.
    """

    frame: Digest
    base: Digest
    segment: Digest
    refined: Digest | None = None
    refined_for: Digest | None = None


def read_drafts(client: redis.Redis, sequence: str) -> dict[int, Draft]:
    """All drafts of a sequence, by frame number."""
    found = client.hgetall(keys.drafts(sequence))
    return {int(n): Draft.model_validate_json(data) for n, data in found.items()}


def write_draft(client: redis.Redis, attempt: Attempt, n: int, draft: Draft) -> None:
    """Keep the draft of frame `n`. Raises Fenced."""
    _keep(client, attempt, keys.drafts(attempt.sequence), str(n), draft.model_dump_json())


def read_checkpoint(client: redis.Redis, sequence: str) -> str | None:
    """The digest of the newest checkpoint of a sequence's distillation."""
    found = client.hget(keys.checkpoints(sequence), DISTILLATION)
    return None if found is None else text(found)


def write_checkpoint(client: redis.Redis, attempt: Attempt, digest: str) -> str | None:
    """Make this the newest checkpoint; returns the digest of the one before. Raises Fenced."""
    before = _keep(client, attempt, keys.checkpoints(attempt.sequence), DISTILLATION, digest)
    return None if before is None else text(before)


def forget_checkpoint(client: redis.Redis, sequence: str) -> None:
    """Name none any more; publishing a whole sequence has done that."""
    client.delete(keys.checkpoints(sequence))


def _keep(client: redis.Redis, attempt: Attempt, key: str, field: str, value: str) -> object:
    return run_script(client, "keep", [keys.fence(attempt.sequence), key], [attempt.token, field, value])
