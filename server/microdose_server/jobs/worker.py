"""The worker: takes jobs out of their lines and runs each in a process of its own.

    worker (this)                          job's process
      pop a job id, begin an attempt ---->   horse -> work.run: torch lives and ends here
      renew the lease                        progress -> md:job:<id>
      refused, or told to stop: SIGKILL ->
      exit status <-----------------------   or its end is noticed here: queue again, or worker-lost

A worker that dies takes the job's process with it. Its lease then runs out, and whoever looks next (every
API and every idle worker do) puts the job back, see `recovery`.
"""

import logging
import math
import os
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial

import redis
from redis.client import Pipeline
from rq import Worker, worker_registration
from rq.exceptions import StopRequested
from rq.job import Job as RqJob
from rq.queue import Queue
from rq.utils import now
from rq.worker import WorkerStatus

from microdose.errors import Fenced, MicrodoseError, NotFound
from microdose.resources import Job
from microdose_server.codec.folder import discriminator_file
from microdose_server.jobs import outcome, supervise
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.lease import Lease
from microdose_server.jobs.queue import JobQueue
from microdose_server.jobs.records import Jobs
from microdose_server.jobs.recovery import Recovery, put_back
from microdose_server.jobs.scratch import clear_scratch
from microdose_server.logs import about
from microdose_server.maintenance import EVERY_S, collect
from microdose_server.settings import Settings
from microdose_server.stopping import exit_when_told
from microdose_server.store.bus import Attempt
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import PAUSE_S, connect, patiently, ping
from microdose_server.store.sequences import Sequences
from microdose_server.store.shelf import KEY, RemoteShelf
from microdose_server.store.viewers import Viewers

RQ_MARGIN_S = 15
"""rq waits for a job this much less than its workers' time to live."""

log = logging.getLogger(__name__)


class JobWorker(Worker):
    """rq's worker, which finds jobs and is found; what it does with one is ours.

    rq's executions, registries and results are not used: a record of rq's and one of ours could disagree.
    """

    max_connection_wait_time = 5.0
    """Seconds between two tries to reach a Redis that is away; rq would double them up to a minute."""

    def __init__(self, queue: JobQueue, settings: Settings) -> None:
        super().__init__(
            list(queue.lines.values()),
            connection=queue.client,
            serializer="json",
            maintenance_interval=0,
            worker_ttl=RQ_MARGIN_S + settings.look_s,
        )
        self._queue = queue
        self._settings = settings
        self._recovery = Recovery(queue, settings)

    def execute_job(self, job: RqJob, queue: Queue) -> None:
        """Make one attempt at a job that was just popped; returns when it has ended."""
        try:
            self.set_state(WorkerStatus.BUSY)
            self.connection.delete(job.key)
            begun = outcome.begin(self.connection, Jobs(self.connection).get(job.id))
            if begun is not None:
                self._attempt(*begun)
        except (Fenced, NotFound):
            log.info("job %s is in other hands, or gone", job.id)
        except redis.RedisError as error:  # recovery will find the job
            log.warning("Redis is away, or refuses, at job %s: %s", job.id, error)
        finally:
            self.set_state(WorkerStatus.IDLE)

    def dequeue_job_and_maintain_ttl(
        self, timeout: int | None, max_idle_time: int | None = None
    ) -> tuple[RqJob, Queue] | None:
        """The next job; a Redis that refuses is waited for as rq waits for one that is away."""
        while True:
            try:
                return super().dequeue_job_and_maintain_ttl(timeout, max_idle_time)
            except redis.ResponseError as error:
                log.warning("no look for jobs: %s", error)
                time.sleep(PAUSE_S)

    def _attempt(self, job: Job, attempt: Attempt) -> None:
        settings = self._settings
        lease = Lease(self.connection, attempt, settings.lease_s)
        lease.renew()
        errand = Errand(
            work=Jobs(self.connection).work(job.id),
            job=job.id,
            sequence=job.sequence,
            token=attempt.token,
            parent=os.getpid(),
        )
        live = Sequences(self.connection).get(job.sequence).live  # for as long as its publisher likes
        patience = supervise.Patience(math.inf if live else settings.job_seconds, settings.stall_seconds)
        with about(job=job.id, sequence=job.sequence, attempt=str(job.attempt)):
            with errand.start() as process:
                self._horse_pid = process.pid
                end = supervise.Supervisor(process, lease, job, patience, self._beat).watch()
            self._horse_pid = 0
            self._settle(attempt, end)

    def _beat(self) -> bool:
        self.heartbeat()
        return self._stop_requested

    def _settle(self, attempt: Attempt, end: supervise.End) -> None:
        problem = end.problem
        if problem is None:
            return
        log.warning("job %s: %s", attempt.job, problem.detail)
        attempts = 0 if end.final else self._settings.job_attempts
        patiently(lambda: put_back(self._queue, attempt, problem, attempts, counted=end.counted))

    def handle_warm_shutdown_request(self) -> None:
        """Asked to stop: give the job back now instead of finishing it; hours may be left."""

    def _shutdown(self) -> None:
        """Stop at once between two jobs; during one, the supervisor sees the flag."""
        self._stop_requested = True
        if self.get_state() != WorkerStatus.BUSY:
            raise StopRequested

    def run_maintenance_tasks(self) -> None:
        """Between two waits for a job: look for lost ones, and what else is nobody's own task."""
        self.last_cleaned_at = now()  # type: ignore[assignment]
        tasks: list[Callable[[], object]] = [
            self._recovery.look,
            self._tidy,
            Viewers(self.connection).restore,
            partial(clear_scratch, self._settings.data_dir),
        ]
        if self._settings.blobs_url is None:  # else what is to be collected is on another machine
            tasks.append(partial(collect, self._settings, self.connection, every_s=EVERY_S))
        for task in tasks:
            try:
                task()
            except (MicrodoseError, OSError, ValueError, redis.RedisError) as error:  # it can wait
                log.warning("maintenance was cut short: %s", error)

    def _tidy(self) -> None:
        for line in self.queues:
            worker_registration.clean_worker_registry(line)

    def heartbeat(self, timeout: int | None = None, pipeline: Pipeline | None = None) -> None:
        """Say that this worker lives; a Redis that is away, or full, for a moment must not end it."""
        try:
            super().heartbeat(timeout, pipeline)
        except redis.RedisError as error:
            log.warning("no heartbeat: %s", error)

    def set_state(self, state: str, pipeline: Pipeline | None = None) -> None:
        """Note what this worker does, as `heartbeat` does."""
        try:
            super().set_state(state, pipeline)
        except redis.RedisError as error:
            log.warning("state not noted: %s", error)

    def teardown(self) -> None:
        """Take leave; without Redis, the heartbeat that runs out says the same."""
        with suppress(redis.RedisError):
            super().teardown()  # type: ignore[no-untyped-call]

    def check_for_suspension(self, burst: bool) -> None:
        """rq's way to pause all workers, by a key of its own that nobody here sets."""

    def subscribe(self) -> None:
        """rq's way to command a worker. Ours hears of a cancelled job from its lease."""

    def unsubscribe(self) -> None:
        """See `subscribe`."""


def run_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop (SIGTERM, SIGINT), or with `burst` until the lines are empty.

    Needs the main thread.

    Raises:
        Unavailable: no Redis, or no API at `Settings.blobs_url`.
        ProblemError: that API does not take the key.
        NotFound: `Settings.distil_beta` asks for a discriminator, and the shipped teacher has none.
    """
    if settings.distil_beta > 0.0:
        discriminator_file()
    exit_when_told()  # until rq's own handlers stand
    os.environ.update(settings.environ())
    # For the job processes: torch's idle threads would spin, and keep the cores from API and Valkey.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    client = connect(redis_url(settings), block_s=RQ_MARGIN_S + settings.look_s)
    ping(client)
    settings.data_dir.mkdir(parents=True, exist_ok=True)  # for what jobs put aside while they work
    if settings.blobs_url is not None:
        RemoteShelf(settings.blobs_url, "originals", os.environ.get(KEY, "")).check()
    worker = JobWorker(JobQueue(client), settings)
    worker.work(burst=burst, logging_level=settings.log_level.upper())


if __name__ == "__main__":
    run_worker(Settings())
