"""The worker: takes jobs off the queue and runs each in a process of its own.

    worker (this)                          job's process
      BLMOVE a job id --- posix_spawn --->   horse -> work.run: torch lives and ends here
      heartbeat every 5 s                    progress -> md:job:<id>
      stop command  ------ SIGKILL ------>
      exit status <-----------------------   or its end is noticed here: queue again, or worker-lost

A worker that dies takes the job's process with it. Its heartbeat then runs out, and the next worker that
looks (each does every 15 s while idle) puts the job back, at most `Settings.job_attempts` times in all.
"""

import logging
import os
import signal
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Any

import redis
import rq
from rq import Worker
from rq.exceptions import AbandonedJobError
from rq.executions import Execution
from rq.job import Job as RqJob

from microdose.errors import MicrodoseError, NotFound
from microdose.problem import Problem, make_problem, problem_of
from microdose_server.jobs import outcome
from microdose_server.jobs.horse import Errand
from microdose_server.jobs.queue import JobQueue
from microdose_server.maintenance import EVERY_S, collect
from microdose_server.settings import Settings
from microdose_server.stopping import exit_when_told
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import LOST, connect, ping
from microdose_server.store.viewers import Viewers

HEARTBEAT_S = 5
"""How often a busy worker says that it lives."""
LEASE_S = 30
"""How long it may be silent before its job is given to another."""
WORKER_TTL_S = 30
"""rq waits for a job 15 s less than this, and looks for dead workers only between two waits."""
WORKER_PID = "MICRODOSE_WORKER_PID"

log = logging.getLogger(__name__)


class JobWorker(Worker):
    """rq's worker with what ours needs: a short lease, our records, and a kill that hits the job alone."""

    def kill_horse(self, sig: signal.Signals = signal.SIGKILL) -> None:
        """Kill the job's process. rq, asked to just before that process starts, would kill its own group."""
        if self.horse_pid:
            super().kill_horse(sig)

    def fork_work_horse(self, job: RqJob, queue: rq.Queue) -> None:
        """Start the job's process, or end it at once where a stop came while there was none to kill."""
        assert self.execution is not None
        self._horse_pid = Errand(worker=self.key, job=job.id, execution=self.execution.id).start()
        if self._stop_requested or self._stopped_job_id == job.id:
            self.kill_horse()

    def get_heartbeat_ttl(self, job: RqJob, working_time: float = 0.0) -> int:
        """Seconds after which a silent worker counts as dead; rq would wait for another minute."""
        return LEASE_S

    def maintain_heartbeats(self, job: RqJob, execution: Execution) -> None:
        """A Redis that is away for a moment must not end the worker, and the job with it."""
        try:
            super().maintain_heartbeats(job, execution)
        except LOST as error:
            log.warning("no heartbeat for job %s: %s", job.id, error)

    def handle_warm_shutdown_request(self) -> None:
        """Asked to stop: give the job back now instead of finishing it; hours may be left."""
        super().handle_warm_shutdown_request()  # type: ignore[no-untyped-call]
        self.kill_horse()

    def handle_work_horse_killed(self, job: RqJob, retpid: int, ret_val: int | None, rusage: Any) -> None:
        """The job's process ended without a word: out of memory, a crash, a shutdown."""
        super().handle_work_horse_killed(job, retpid, ret_val, rusage)  # type: ignore[no-untyped-call]
        if self._stop_requested:
            job.retries_left = (job.retries_left or 0) + 1  # a shutdown is not the job's fault
        with suppress(NotFound):  # its record was removed meanwhile
            outcome.lose(self.connection, job.id, _lost(cause(ret_val or 0)), again=job.should_retry)

    def run_maintenance_tasks(self) -> None:
        """rq's clean-up, which finds the jobs of dead workers, and ours."""
        super().run_maintenance_tasks()  # type: ignore[no-untyped-call]
        settings = Settings()
        JobQueue(self.connection, settings.job_attempts).sweep()
        viewers = Viewers(self.connection)
        for task in (viewers.restore, partial(collect, settings, self.connection, every_s=EVERY_S)):
            try:
                task()
            except (MicrodoseError, OSError, redis.RedisError) as error:  # it can wait; jobs cannot
                log.warning("maintenance was cut short: %s", error)


def on_failure(
    job: RqJob,
    connection: redis.Redis,
    kind: type[BaseException],
    error: BaseException,
    trace: TracebackType | None,
) -> None:
    """rq calls this where an attempt raised (in its process) or its worker died (in another worker)."""
    if isinstance(error, AbandonedJobError):
        problem = _lost("its worker stopped answering")
    elif isinstance(error, MicrodoseError):
        problem = problem_of(error)
    else:
        problem = make_problem("unavailable", f"{kind.__name__}: {error}")
    outcome.lose(connection, job.id, problem, again=job.should_retry)


def run_worker(settings: Settings, *, burst: bool = False) -> None:
    """Work until told to stop (SIGTERM, SIGINT), or with `burst` until the queue is empty.

    Needs the main thread.

    Raises:
        Unavailable: no Redis.
    """
    exit_when_told()  # until rq's own handlers stand
    os.environ.update(settings.environ() | {WORKER_PID: str(os.getpid())})
    # For the job processes: torch's idle threads would spin, and keep the cores from API and Valkey.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    client = connect(redis_url(settings), block_s=WORKER_TTL_S)
    ping(client)
    queue = JobQueue(client, settings.job_attempts)
    worker = JobWorker(
        [queue.rq],
        connection=client,
        serializer="json",
        maintenance_interval=HEARTBEAT_S,
        job_monitoring_interval=HEARTBEAT_S,
        worker_ttl=WORKER_TTL_S,
    )
    worker.work(burst=burst, logging_level=settings.log_level.upper())


def cause(status: int) -> str:
    """What a wait status says, in words."""
    code = os.waitstatus_to_exitcode(status)
    end = f"was killed by {signal.Signals(-code).name}" if code < 0 else f"ended with {code}"
    return f"its process {end}"


def _lost(detail: str) -> Problem:
    return make_problem("job-worker-lost", detail)


if __name__ == "__main__":
    run_worker(Settings())
