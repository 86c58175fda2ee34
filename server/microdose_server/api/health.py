"""Is the process alive, can it serve, and what has it done: for probes and Prometheus, without a key."""

import os
import time
from collections import Counter

import redis
from fastapi import APIRouter, Request
from starlette.responses import PlainTextResponse

from microdose.problem import ProblemError, make_problem
from microdose_server.api.services import Here, Services

router = APIRouter(tags=["health"])
_STARTED = time.time()


@router.get("/livez")
async def livez() -> dict[str, str]:
    """Answers while the event loop turns."""
    return {"status": "ok"}


@router.get("/readyz")
def readyz(here: Here) -> dict[str, str]:
    """Each thing that serving needs; 503 names those that are missing."""
    checks = {"redis": _redis(here), "blobs": _blobs(here), "open": not here.pump.draining}
    if missing := [name for name, good in checks.items() if not good]:
        raise ProblemError(make_problem("unavailable", f"not ready: {', '.join(missing)}"))
    return dict.fromkeys(checks, "ok")


@router.get("/metrics", response_class=PlainTextResponse)
async def metrics(here: Here, request: Request) -> str:  # in the event loop, which changes what is counted
    """Prometheus text. Labels are few and bounded: never a sequence, a job or a client."""
    answers: Counter[tuple[str, int]] = request.app.state.answers
    lines = [
        "# TYPE microdose_requests_total counter",
        *(
            f'microdose_requests_total{{method="{method}",status="{status}xx"}} {count}'
            for (method, status), count in sorted(answers.items())
        ),
        "# TYPE microdose_listeners gauge",
        f"microdose_listeners {here.pump.listening}",
        "# TYPE microdose_start_time_seconds gauge",
        f"microdose_start_time_seconds {_STARTED:.3f}",
    ]
    return "\n".join(lines) + "\n"


def _redis(here: Services) -> bool:
    try:
        return bool(here.redis.ping())
    except redis.RedisError:
        return False


def _blobs(here: Services) -> bool:
    return os.access(here.blobs.root, os.W_OK)
