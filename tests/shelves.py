"""Places that hold a published sequence, real and local, whose contents a test may spoil.

HttpShelf    a real HTTP server on loopback       RedisShelf   a real Valkey, filled by the server's own code
RelayShelf   the first, behind a real relay
"""

import json
import re
import threading
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

import redis

from microdose import keys
from microdose_client import Client, Retry, Timeouts
from microdose_client.api import Api
from microdose_client.bus import Bus
from microdose_client.http import Http
from microdose_client.source import Source
from microdose_server.settings import Settings
from microdose_server.store.bus import put_hot_blob
from tests.live import live_relay
from tests.loopback import Loopback, Reply, Request, json_reply, problem_reply
from tests.tiny_base import TinySequence

KEY = f"md_{12 * 'v'}_{43 * 's'}"
ONCE = Retry(attempts=1)
SHORT = Timeouts(connect=5.0, read=0.3, total=30.0)
OPERATIONS = (Path(__file__).parents[1] / "docs" / "operations.md").read_text()
(VIEWER,) = re.findall(r"^ACL SETUSER viewer on >PASSWORD (.+)$", OPERATIONS, re.MULTILINE)


class Shelf(Protocol):
    """One transport's store."""

    def put_manifest(self, sequence: str, data: bytes) -> None: ...
    def put_blob(self, digest: str, data: bytes) -> None: ...
    def lose_blob(self, digest: str) -> None: ...
    def source(self) -> Source: ...
    def options(self, key: str = KEY) -> dict[str, Any]: ...
    def client(self, cache_dir: Path, key: str = KEY) -> Client: ...


def publish(shelf: Shelf, sequence: TinySequence, /, **changes: Any) -> None:
    """Put a sequence on a shelf, with some of the manifest's JSON fields changed."""
    document = json.loads(sequence.manifest.to_bytes()) | changes
    for digest, data in sequence.blobs.items():
        shelf.put_blob(digest, data)
    shelf.put_manifest(sequence.manifest.sequence, json.dumps(document).encode())


class HttpShelf:
    """Serves manifests and blobs by HTTP to who has the key."""

    def __init__(self) -> None:
        self.documents: dict[str, bytes] = {}
        self.fetched: list[str] = []
        self._lock = threading.Lock()
        self._loopback = Loopback(self._answer)

    def put_manifest(self, sequence: str, data: bytes) -> None:
        self.documents[f"/v1/sequences/{sequence}/manifest"] = data

    def put_blob(self, digest: str, data: bytes) -> None:
        self.documents[f"/v1/blobs/{digest}"] = data

    def lose_blob(self, digest: str) -> None:
        del self.documents[f"/v1/blobs/{digest}"]

    @property
    def url(self) -> str:
        return self._loopback.url

    def source(self) -> Api:
        return Api(Http(self.url, key=KEY, retry=ONCE))

    def options(self, key: str = KEY) -> dict[str, Any]:
        return {"server": self.url, "key": key, "retry": ONCE}

    def client(self, cache_dir: Path, key: str = KEY) -> Client:
        return Client(**self.options(key), cache_dir=cache_dir)

    def __enter__(self) -> Self:
        self._loopback.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loopback.__exit__(kind, error, trace)

    def _answer(self, request: Request) -> Reply:
        if request.headers.get("authorization") != f"Bearer {KEY}":
            return problem_reply("unauthorized", "this key is not known here")
        if request.path == "/v1/key":
            return json_reply({"id": KEY[3:15], "scopes": ["view"], "created": "2026-01-01T00:00:00Z"})
        with self._lock:
            self.fetched.append(request.path)
        data = self.documents.get(request.path)
        return problem_reply("not-found", f"no {request.path}") if data is None else Reply(body=data)


class RelayShelf(HttpShelf):
    """Serves the same through a relay, which keeps blobs in `folder`."""

    def __init__(self, folder: Path) -> None:
        super().__init__()
        self._relay = live_relay(Settings(data_dir=folder, upstream=super().url), KEY)

    @property
    def url(self) -> str:
        return self._url

    def __enter__(self) -> Self:
        super().__enter__()
        self._url = self._relay.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._relay.__exit__(kind, error, trace)
        super().__exit__(kind, error, trace)


class RedisShelf:
    """Keeps manifests and blobs in a Valkey, for a viewer who may read `md:pub:*` and nothing else."""

    def __init__(self, url: str) -> None:
        self._owner = redis.Redis.from_url(url, socket_timeout=10, socket_connect_timeout=10)
        self._path = url.removeprefix("unix://")
        self._owner.flushall()
        self._add_user("viewer", VIEWER)

    def put_manifest(self, sequence: str, data: bytes) -> None:
        self._owner.set(keys.manifest(sequence), data)

    def put_blob(self, digest: str, data: bytes) -> None:
        put_hot_blob(self._owner, digest, data, "application/octet-stream", seconds=600)

    def lose_blob(self, digest: str) -> None:
        self._owner.delete(keys.blob_chunk(digest, 0))

    def url(self, key: str = KEY, user: str = "viewer") -> str:
        return f"unix://{user}:{key}@{self._path}"

    def source(self) -> Bus:
        return Bus.connect(self.url())

    def restrict(self, user: str, rules: str) -> str:
        """The URL of another user."""
        self._add_user(user, rules)
        return self.url(user=user)

    def options(self, key: str = KEY) -> dict[str, Any]:
        return {"redis": self.url(key)}

    def client(self, cache_dir: Path, key: str = KEY) -> Client:
        return Client(**self.options(key), cache_dir=cache_dir)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._owner.close()

    def _add_user(self, user: str, rules: str) -> None:
        words = ("ACL", "SETUSER", user, "reset", "on", f">{KEY}", *rules.split())
        self._owner.execute_command(*words)  # type: ignore[no-untyped-call]
