"""The process of one job, as rq's worker starts it: `python -m microdose_server.jobs.horse`.

    worker --environment: MICRODOSE_HORSE = {"worker": …, "job": …, "execution": …}--> this process

Ids are all it is told, and settings stand in the environment as they do for every other process: rq's own
way puts the password of Redis on the command line, which every user of the machine may read, and unpickles
what it finds there.
"""

import os
import sys
from typing import Self

import rq
from pydantic import BaseModel, ConfigDict
from rq.executions import Execution
from rq.job import Job as RqJob
from rq.serializers import JSONSerializer

from microdose.errors import NotFound
from microdose_server.logs import start_logging
from microdose_server.settings import Settings
from microdose_server.store.embedded import redis_url
from microdose_server.store.redis import connect

VARIABLE = "MICRODOSE_HORSE"


class Errand(BaseModel):
    """Which job to do, in which execution, for which worker: names in Redis."""

    model_config = ConfigDict(frozen=True)

    worker: str
    job: str
    execution: str

    def start(self) -> int:
        """Start its process, in a process group of its own; returns the process id."""
        command = [sys.executable, "-P", "-m", "microdose_server.jobs.horse"]
        environ = os.environ | {VARIABLE: self.model_dump_json()}
        return os.posix_spawn(sys.executable, command, environ, setpgroup=0)

    @classmethod
    def received(cls) -> Self:
        """The errand of this very process; whatever it starts in turn knows nothing of it."""
        return cls.model_validate_json(os.environ.pop(VARIABLE))


def run(errand: Errand, settings: Settings) -> None:
    """Do the job; the process ends with it.

    Raises:
        NotFound: the worker's record is gone.
    """
    from microdose_server.jobs.worker import JobWorker

    client = connect(redis_url(settings))
    worker = JobWorker.find_by_key(errand.worker, connection=client, serializer="json")
    if worker is None:
        raise NotFound(f"Redis knows no worker {errand.worker}")
    job = RqJob.fetch(errand.job, connection=client, serializer=JSONSerializer)
    queue = rq.Queue(job.origin, connection=client, serializer=JSONSerializer)
    worker.execution = Execution.fetch(errand.execution, errand.job, connection=client)
    worker.main_work_horse(job, queue)


if __name__ == "__main__":
    settings = Settings()
    start_logging(settings)
    run(Errand.received(), settings)
