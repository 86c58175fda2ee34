"""The record of what a job keeps of its work, see `jobs.drafts`: one field per frame."""

import redis

from microdose import keys
from microdose.digest import Digest
from microdose.document import Document


class Draft(Document):
    """An encoded picture: of which frame and for which base, its segment, the teacher's picture."""

    frame: Digest
    base: Digest
    segment: Digest
    picture: Digest

    @property
    def blobs(self) -> set[str]:
        """What it needs on the shelf."""
        return {self.segment, self.picture}


def read_drafts(client: redis.Redis, sequence: str) -> dict[int, Draft]:
    """All drafts of a sequence, by frame number."""
    found = client.hgetall(keys.drafts(sequence))
    return {int(n): Draft.model_validate_json(data) for n, data in found.items()}
