"""Jobs in line for a worker: rq, with JSON in place of pickle.

rq keeps one list of job ids. One queue only: with several, rq takes a job off its list before it is noted
anywhere else, and a worker killed at that moment loses it. Who must go first is put at the front.
"""

from contextlib import suppress
from datetime import UTC, datetime, timedelta

import redis
import rq
from rq.command import send_stop_job_command
from rq.exceptions import InvalidJobOperation, NoSuchJobError
from rq.job import JobStatus
from rq.serializers import JSONSerializer

from microdose.ids import new_id
from microdose.problem import ProblemError, make_problem
from microdose.resources import Job, JobState
from microdose_server.jobs import outcome
from microdose_server.jobs.records import Jobs
from microdose_server.store.sequences import RESTARTABLE, Sequences

QUEUE = "microdose"
WORK = "microdose_server.jobs.work.run"
ON_FAILURE = "microdose_server.jobs.worker.on_failure"
NO_LIMIT = -1
KEEP_S = 86_400
ORPHAN = timedelta(seconds=60)
IN_HAND = (JobStatus.QUEUED, JobStatus.STARTED, JobStatus.SCHEDULED, JobStatus.DEFERRED)


class JobQueue:
    """The line of one Redis. Names the work by its path: nothing here imports torch."""

    def __init__(self, client: redis.Redis, attempts: int = 3, work: str = WORK) -> None:
        self.client = client
        self.rq = rq.Queue(QUEUE, connection=client, serializer=JSONSerializer, default_timeout=NO_LIMIT)
        self._attempts = attempts
        self._work = work
        self._jobs = Jobs(client)

    def enqueue(self, sequence: str) -> Job:
        """Have a complete sequence worked on; asking again returns the job that already does, or did.

        Raises NotFound, BadUpload (frames are missing) and ProblemError (conflict), as `Sequences.queue`.
        """
        if present := self._present(sequence):
            return present
        job = Job(id=new_id(), sequence=sequence, state=JobState.QUEUED, created=datetime.now(UTC))
        try:
            Sequences(self.client).queue(sequence, job.id, lambda pipeline: self._jobs.create(job, pipeline))
        except ProblemError:  # a conflict: somebody asked at the same moment
            if present := self._present(sequence):
                return present
            raise
        self._submit(job.id)
        return job

    def cancel(self, job: str) -> Job:
        """End a job at once and kill its process. A job that has ended stays as it is. Raises NotFound."""
        record = outcome.cancel(self.client, job)
        waiting = self._find(job)
        if waiting is not None and waiting.get_status() == JobStatus.STARTED:
            with suppress(InvalidJobOperation):  # its process ended just now
                send_stop_job_command(self.client, job, serializer=JSONSerializer)
        elif waiting is not None:
            with suppress(InvalidJobOperation):  # cancelled before
                waiting.cancel()
        return record

    def sweep(self) -> None:
        """Find the jobs that something cut off without a trace, and queue or end them.

        rq itself notices a dead worker's job. This is for what lies between its steps and ours: a job
        recorded but never handed to rq, or given up by rq without a word to us.
        """
        for job in self._jobs.unfinished():
            if outcome.follow(self.client, job.id).state.final:
                continue
            found = self._find(job.id)
            if found is not None and found.get_status() in IN_HAND:
                continue
            if found is None and job.state == JobState.QUEUED:
                if datetime.now(UTC) - job.created > ORPHAN:
                    self._submit(job.id)
                continue
            lost = make_problem("job-worker-lost", f"rq gave job {job.id} up after {job.attempt} attempts")
            outcome.lose(self.client, job.id, lost, again=False)

    def workers(self) -> int:
        """How many workers there are for this line."""
        return rq.Worker.count(queue=self.rq)

    def _present(self, sequence: str) -> Job | None:
        """The job that works on a sequence, or did so to the end."""
        found = Sequences(self.client).get(sequence)
        return self._jobs.get(found.job) if found.job and found.state not in RESTARTABLE else None

    def _submit(self, job: str) -> None:
        self.rq.enqueue_call(
            self._work,
            args=(job,),
            job_id=job,
            description=f"job {job}",
            timeout=NO_LIMIT,
            result_ttl=KEEP_S,
            failure_ttl=KEEP_S,
            retry=rq.Retry(max=self._attempts - 1) if self._attempts > 1 else None,
            on_failure=rq.Callback(ON_FAILURE),
        )

    def _find(self, job: str) -> rq.job.Job | None:
        try:
            return rq.job.Job.fetch(job, connection=self.client, serializer=JSONSerializer)
        except NoSuchJobError:
            return None
