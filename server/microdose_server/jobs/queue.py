"""Jobs in line for a worker: rq's lists, with JSON in place of pickle, one line for each priority.

rq keeps the lists and wakes the workers. What has become of a job is in our records, behind the fence: rq
takes an id off its list before anything else is noted, and `recovery` brings back what was lost in between.
"""

from datetime import UTC, datetime

import redis
import rq
from rq.serializers import JSONSerializer

from microdose.ids import new_id
from microdose.problem import ProblemError
from microdose.resources import Job, JobState, Priority
from microdose_server.jobs import outcome
from microdose_server.jobs.records import Jobs
from microdose_server.store.sequences import RESTARTABLE, Sequences

LINES = {
    Priority.HIGH: "microdose-high",
    Priority.NORMAL: "microdose",
    Priority.LOW: "microdose-low",
}
"""In the order in which workers look."""
WORK = "microdose_server.jobs.work.run"
NO_LIMIT = -1
"""rq's; ours are deadline and patience with a job that makes no progress, see `supervise`."""


class JobQueue:
    """The lines of one Redis. Names the work by its path: nothing here imports torch."""

    def __init__(self, client: redis.Redis, work: str = WORK) -> None:
        self.client = client
        self.lines = {
            priority: rq.Queue(name, connection=client, serializer=JSONSerializer, default_timeout=NO_LIMIT)
            for priority, name in LINES.items()
        }
        self._work = work
        self._jobs = Jobs(client)

    def enqueue(self, sequence: str, priority: Priority = Priority.NORMAL) -> Job:
        """Have a complete sequence worked on; asking again returns the job that already does, or did.

        Raises NotFound, BadUpload (frames are missing) and ProblemError (conflict), as `Sequences.queue`.
        """
        if present := self._present(sequence):
            return present
        now = datetime.now(UTC)
        job = Job(id=new_id(), sequence=sequence, priority=priority, state=JobState.QUEUED, created=now)
        try:
            Sequences(self.client).queue(
                sequence, job.id, lambda pipeline: self._jobs.create(job, self._work, pipeline)
            )
        except ProblemError:  # a conflict: somebody asked at the same moment
            if present := self._present(sequence):
                return present
            raise
        self.submit(job)
        return job

    def submit(self, job: Job, *, first: bool = False) -> None:
        """Put a recorded job into its line: at the end, or `first`."""
        self.lines[job.priority].enqueue_call(
            self._jobs.work(job.id),
            args=(job.id,),
            job_id=job.id,
            description=f"job {job.id}",
            timeout=NO_LIMIT,
            at_front=first,
        )

    def cancel(self, job: str) -> Job:
        """End a job at once; its worker, refused the next renewal of its lease, kills its process.

        A job that has ended stays as it is. Raises NotFound.
        """
        record = outcome.cancel(self.client, job)
        self.lines[record.priority].remove(job)
        self.client.delete(rq.job.Job.key_for(job))  # else a worker would, that takes it out of the line
        return record

    def waiting(self) -> list[str]:
        """The ids of the jobs in line, the next one first."""
        return [job for line in self.lines.values() for job in line.get_job_ids()]

    def running(self) -> int:
        """How many jobs have been begun and have not ended."""
        return sum(job.state is JobState.RUNNING for job in self._jobs.unfinished())

    def workers(self) -> int:
        """How many workers there are for these lines."""
        return rq.Worker.count(queue=self.lines[Priority.NORMAL])

    def _present(self, sequence: str) -> Job | None:
        """The job that works on a sequence, or did so to the end."""
        found = Sequences(self.client).get(sequence)
        return self._jobs.get(found.job) if found.job and found.state not in RESTARTABLE else None
