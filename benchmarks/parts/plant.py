"""The processes of one server, all real, with data of their own.

Valkey <-- API, workers: started again whenever they do not run, as a container engine does
"""

import os
import signal
import subprocess
import sys
import urllib.request
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Self

from microdose_server.evaluate.ports import free_port
from microdose_server.store.apikeys import ApiKeys, Scope
from microdose_server.store.embedded import EmbeddedValkey, socket_url
from microdose_server.store.redis import connect

API, VALKEY = "api", "valkey"


class Plant:
    """Start and restart its processes from one thread, which stays."""

    def __init__(
        self,
        folder: Path,
        workers: int = 0,
        *,
        remote: bool = False,
        environ: Mapping[str, str] = MappingProxyType({}),
    ) -> None:
        """`remote` workers share no disk with the API; `environ` has settings for all of them."""
        self.folder = folder
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.valkey = EmbeddedValkey(folder)
        self._environ = os.environ | {
            "MICRODOSE_DATA_DIR": str(folder),
            "MICRODOSE_REDIS_URL": socket_url(folder),
            "MICRODOSE_PORT": str(self.port),
            "OMP_NUM_THREADS": "1",
            **environ,
        }
        self._commands = {API: "serve"} | {f"worker {n}": "worker" for n in range(workers)}
        self._remote = remote
        self._processes: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Self:
        self.valkey.start()
        self._environ["MICRODOSE_KEY"] = self.key(Scope.WORKER)
        self.tend()
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes.values():
            process.kill()
            process.wait()
        self.valkey.stop()

    def key(self, *scopes: Scope) -> str:
        """A new API key."""
        with connect(self.valkey.url) as bus:
            return ApiKeys(bus).create(scopes)[1]

    def tend(self) -> list[str]:
        """Start every process that does not run; returns those that had ended by themselves."""
        ended = []
        for name, command in self._commands.items():
            process = self._processes.get(name)
            if process is not None and process.poll() is None:
                continue
            ended += [] if process is None else [name]
            with self.log(name).open("ab") as log:
                self._processes[name] = subprocess.Popen(
                    [sys.executable, "-m", "microdose_server", command],
                    env=self._environ | self._apart(name),
                    stdout=log,
                    stderr=log,
                )
        return ended

    def log(self, name: str) -> Path:
        """What a process has said."""
        return self.folder / f"{name}.log"

    def pid(self, name: str) -> int:
        """The process id of what was started last under this name."""
        pid = self.valkey.pid if name == VALKEY else self._processes[name].pid
        assert pid is not None
        return pid

    def kill(self, targets: Sequence[str]) -> None:
        """SIGKILL to each, and a restart."""
        for target in targets:
            os.kill(self.pid(target), signal.SIGKILL)
        if VALKEY in targets:
            self.valkey.stop()
            self.valkey = EmbeddedValkey(self.folder)
            self.valkey.start()
        for target in set(targets) - {VALKEY}:
            self._processes[target].wait()
        self.tend()

    def kinds(self) -> list[list[str]]:
        """What can be killed: a worker, the API, Valkey."""
        workers = [name for name in self._commands if name.startswith("worker")]
        return [workers, [API], [VALKEY]]

    def is_ready(self) -> bool:
        """Whether the API can work."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=5):
                return True
        except OSError:
            return False

    def _apart(self, name: str) -> dict[str, str]:
        if not (self._remote and name.startswith("worker")):
            return {}
        return {"MICRODOSE_DATA_DIR": str(self.folder / name), "MICRODOSE_BLOBS_URL": self.url}
