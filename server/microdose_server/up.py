"""`microdose-server up`: everything a machine needs, started together and ended together.

    this process ---- Valkey   (child; none if a Redis is given)
        API      ---- worker   (child) ---- job (child of it)

If one of them ends by itself, all end; if this process is killed, the kernel ends the rest.
"""

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path

import redis

from microdose.errors import Unavailable
from microdose_server.announce import Announce
from microdose_server.api.server import serve
from microdose_server.settings import Settings
from microdose_server.stopping import exit_when_told
from microdose_server.store import parent
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect, ping

WATCH_S = 0.5
STOP_S = 15.0


def run_up(settings: Settings, announce: Announce) -> int:
    """Run until SIGTERM or SIGINT. Needs the main thread.

    Raises:
        Unavailable: a part cannot start, or has ended by itself.
    """
    exit_when_told()
    with ExitStack() as stack:
        children: dict[str, int] = {}
        if settings.redis_url is None:
            valkey = stack.enter_context(EmbeddedValkey(settings.data_dir))
            settings = settings.model_copy(update={"redis_url": valkey.url})
            children["the embedded Valkey"] = valkey.pid or 0
        key_file = _first_key(settings, announce)
        children["the worker"] = stack.enter_context(_worker(settings))
        watch = stack.enter_context(_watch(children))

        def ready(url: str) -> None:
            kept = f" (key in {key_file})" if key_file else ""
            sentence = f"microdose-server is ready at {url}{kept}"
            announce("ready", sentence, url=url, key_file=key_file, pid=os.getpid())

        try:
            serve(settings, ready)
        except SystemExit:
            if watch:
                raise Unavailable(f"{watch[0]} has ended by itself; its log says why") from None
            raise
    return 0


def _first_key(settings: Settings, announce: Announce) -> Path | None:
    """Where the admin key is kept, if it is here; makes one if this Redis has no keys at all."""
    path = settings.data_dir.absolute() / "key"
    with connect(str(settings.redis_url)) as client:
        ping(client)
        if not ApiKeys(client).all():
            token = write_admin_key(client, path)
            announce("key", f"admin key: {token}", key=token, key_file=path)
    return path if path.is_file() else None


def write_admin_key(client: redis.Redis, path: Path) -> str:
    """Make an admin key and keep its token in `path`, readable by this user alone."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)  # an old file may have other rights
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        _, token = ApiKeys(client).create([Scope.ADMIN], "first key")
        file.write(token + "\n")
    return token


@contextmanager
def _worker(settings: Settings) -> Iterator[int]:
    """A worker process, as its process id."""
    process = subprocess.Popen(
        parent.command(sys.executable, "-m", "microdose_server", "worker"),
        env={**os.environ, **settings.environ()},
        stdin=subprocess.DEVNULL,
        stdout=sys.stderr,  # stdout is for `announce`
        process_group=0,  # Ctrl+C is for this process, which ends the worker in order
    )
    try:
        yield process.pid
    finally:
        process.terminate()
        try:
            process.wait(STOP_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


@contextmanager
def _watch(children: Mapping[str, int]) -> Iterator[list[str]]:
    """End this process as by SIGTERM as soon as a child has ended; the list then names it."""
    ended: list[str] = []
    stopping = threading.Event()

    def watch() -> None:
        while not ended and not stopping.wait(WATCH_S):
            ended.extend(name for name, pid in children.items() if _has_ended(pid))
        if ended:
            os.kill(os.getpid(), signal.SIGTERM)

    thread = threading.Thread(target=watch, name="watch", daemon=True)
    thread.start()
    try:
        yield ended
    finally:
        stopping.set()
        thread.join()


def _has_ended(pid: int) -> bool:
    """Looks without collecting the exit status, which is for who started the child."""
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is not None
