"""Health checks for docker-compose.yml: `python healthy.py api|worker` exits 0 if this container works."""

import socket
import sys
import urllib.request

SECONDS = 4.0


def api() -> bool:
    """The API answers and says that it can serve."""
    with urllib.request.urlopen("http://127.0.0.1:8710/readyz", timeout=SECONDS) as answer:
        return bool(answer.status == 200)


def worker() -> bool:
    """Redis knows a worker of this host whose heartbeat has not run out."""
    from rq import Worker

    from microdose_server.settings import Settings
    from microdose_server.store.embedded import redis_url
    from microdose_server.store.redis import connect

    with connect(redis_url(Settings())) as redis:
        return any(each.hostname == socket.gethostname() for each in Worker.all(connection=redis))


if __name__ == "__main__":
    sys.exit(not {"api": api, "worker": worker}[sys.argv[1]]())
