"""Open sequences that nobody goes on with, which hold quota and originals.

Their publisher gave up, or never learnt the id: an API that is killed removes nothing of a half-done upload.
"""

from contextlib import suppress
from datetime import UTC, datetime

import redis

from microdose import keys
from microdose.errors import NotFound
from microdose.resources import Sequence, SequenceState
from microdose_server.store.named import all_sequences
from microdose_server.store.sequences import Sequences


def forget_abandoned(client: redis.Redis, before: datetime) -> int:
    """Remove the sequences that are open and got their last frame, or were opened, before that time.

    Returns how many went. A publisher who comes back at this very moment finds them gone as well.
    """
    found = [sequence.id for sequence in all_sequences(client) if _is_abandoned(client, sequence, before)]
    for sequence in found:
        with suppress(NotFound):  # its publisher was faster
            Sequences(client).delete(sequence)
    return len(found)


def _is_abandoned(client: redis.Redis, sequence: Sequence, before: datetime) -> bool:
    if sequence.state is not SequenceState.OPEN:
        return False
    last_put = client.hget(keys.sequence(sequence.id), "last_put")
    return (datetime.fromtimestamp(float(last_put), UTC) if last_put else sequence.created) < before
