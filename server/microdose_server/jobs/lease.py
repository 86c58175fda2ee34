"""Who works on a job at this moment, as Redis knows it.

    lease = token of the attempt, gone by itself unless its worker renews it in time

It counts only while that token is the newest: who cancels or takes over ends the lease with the same step.
"""

from dataclasses import dataclass

import redis

from microdose import keys
from microdose.resources import Job
from microdose_server.store.bus import Attempt
from microdose_server.store.redis import text
from microdose_server.store.scripts import run_script


@dataclass(frozen=True, slots=True)
class Lease:
    """The lease of one attempt, `seconds` long."""

    client: redis.Redis
    attempt: Attempt
    seconds: float

    def renew(self) -> None:
        """Hold it for its full length from now.

        Raises:
            Fenced: the job was cancelled or taken over, or its sequence removed; stop working.
        """
        sequence = self.attempt.sequence
        milliseconds = int(1000 * self.seconds)
        names = [keys.fence(sequence), keys.lease(sequence)]
        run_script(self.client, "lease", names, [self.attempt.token, milliseconds])


def newest_attempt(client: redis.Redis, job: Job) -> Attempt:
    """The attempt that may write now; one that was never begun has the token 0."""
    return Attempt(job.id, job.sequence, int(client.get(keys.fence(job.sequence)) or 0))


def is_held(client: redis.Redis, attempt: Attempt) -> bool:
    """Whether somebody holds the lease of this very attempt."""
    holder = client.get(keys.lease(attempt.sequence))
    return holder is not None and text(holder) == str(attempt.token)
