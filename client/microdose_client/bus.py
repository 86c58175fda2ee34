"""Published sequences straight from Redis: snapshot, event log and the hot copies of blobs, nothing else.

The only module that imports redis. It reads `md:pub:*` keys with GETRANGE, XREAD and XREVRANGE alone, so that
a viewer's ACL user is enough and a value of the wrong size costs no memory. Every wait is bounded: redis-py's
own defaults would let an unreachable server hold a call for about a minute.
"""

import math
from collections.abc import AsyncGenerator, Callable
from typing import Any, NoReturn

import redis
import redis.asyncio
from pydantic import ValidationError
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError

from microdose import keys
from microdose.base import Descriptor
from microdose.errors import NotFound, Removed, Unavailable
from microdose.manifest import MAX_MANIFEST_BYTES, Event
from microdose.patience import TIMEOUTS, Timeouts
from microdose.problem import ProblemError, make_problem
from microdose_client.source import Heard
from microdose_client.threads import in_thread

Redis = redis.Redis | redis.asyncio.Redis
BLOCK_S = 2.0
"""One XREAD waits this long: less than redis-py 8 lets a socket of its own wait (5 s)."""
PAGE = 100
START = "0-0"


class Bus:
    """A Redis that holds published sequences."""

    def __init__(self, client: Redis, owned: bool = False) -> None:
        """Reads through `client`, which must not decode responses; whoever owns it sets its timeouts."""
        self._redis, self._owned = client, owned
        where = client.connection_pool.connection_kwargs
        self.name = f"Redis at {where.get('path') or '{}:{}'.format(where.get('host'), where.get('port'))}"
        self._block_s = min(BLOCK_S, (where.get("socket_timeout") or math.inf) / 2)

    @classmethod
    def connect(cls, url: str, timeouts: Timeouts = TIMEOUTS) -> "Bus":
        """The Redis at a redis://, rediss:// or unix:// URL, else Unavailable; connects at the first read."""
        try:
            client = redis.asyncio.Redis.from_url(
                url,
                socket_connect_timeout=timeouts.connect,
                socket_timeout=timeouts.read,
                retry=Retry(ExponentialBackoff(cap=1.0, base=0.1), 2),
            )
            where = client.connection_pool.connection_kwargs
            client.connection_pool.connection_class(**where)  # else an unknown option shows at the first read
            str(where.get("host")).encode("idna")  # and so does a host that cannot be one
        except (ValueError, TypeError):  # its words may hold a part of the password
            raise Unavailable("this is not a Redis URL; give one like redis://host:6379/0") from None
        return cls(client, owned=True)

    async def close(self) -> None:
        """Close every connection, unless they are somebody else's."""
        if self._owned and isinstance(self._redis, redis.asyncio.Redis):
            await self._redis.aclose()

    async def manifest(self, sequence: str) -> bytes:
        """The sequence's snapshot, as JSON."""
        data = await self._read(keys.manifest(sequence), MAX_MANIFEST_BYTES + 1)
        if not data:
            newest = await self._ask(self._redis.xrevrange, keys.events(sequence), count=1)
            if _says_removed(newest):
                raise Removed(f"sequence {sequence} was removed by its publisher")
            raise NotFound(f"{self.name} has no published sequence {sequence!r}")
        return data

    async def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a blob put together from its chunks, not verified yet."""
        data = bytearray()
        for i in range(math.ceil(descriptor.size / keys.CHUNK)):
            chunk = await self._read(keys.blob_chunk(descriptor.digest, i), keys.CHUNK)
            if not chunk:
                raise NotFound(f"{self.name} has no copy of blob {descriptor.digest} (chunk {i} is missing)")
            data += chunk
            if len(chunk) < keys.CHUNK:
                break
        return bytes(data)

    async def events(self, sequence: str, after: str) -> AsyncGenerator[Heard | None]:
        """The log's entries after id `after`, as they come; never ends."""
        key, block = keys.events(sequence), max(1, int(1000 * self._block_s))
        while True:
            entries = _entries(await self._ask(self._redis.xread, {key: after}, count=PAGE, block=block))
            for after, event in entries:
                yield Heard(after, event)
            if not entries:
                newest = _newest(await self._ask(self._redis.xrevrange, key, count=1))
                if _numbers(after) > _numbers(newest):  # the log was lost, and may have begun anew
                    after = newest
                    yield Heard(after, None)
                yield None

    async def _read(self, key: str, limit: int) -> bytes:
        """At most `limit` bytes of a string key; empty if there is no such key."""
        data = await self._ask(self._redis.getrange, key, 0, limit - 1)
        return bytes(data)

    async def _ask(self, command: Callable[..., Any], *args: Any, **options: Any) -> Any:
        """Redis' answer to a command; a blocking client gets a thread for it."""
        try:
            if isinstance(self._redis, redis.asyncio.Redis):
                return await command(*args, **options)
            return await in_thread(command, *args, **options)
        except RedisError as error:
            self._fail(error)

    def _fail(self, error: RedisError) -> NoReturn:
        """Raise what redis-py ran into as an error of ours."""
        refused = AuthenticationError | AuthorizationError
        if isinstance(error, refused) or isinstance(
            error.__cause__, refused
        ):  # asyncio's wraps what it meets
            detail = f"{self.name} does not accept this user and password: {error}"
            raise ProblemError(make_problem("unauthorized", detail)) from error
        if isinstance(error, NoPermissionError):
            detail = f"{self.name} does not let this user read sequences: {error}"
            raise ProblemError(make_problem("forbidden", detail)) from error
        raise Unavailable(
            f"cannot read from {self.name}: {error}; is it running, and the right one?"
        ) from error


def _entries(answer: Any) -> list[tuple[str, bytes]]:
    """(id, event JSON) of every entry that XREAD found in one stream, in either version of its protocol."""
    found = (
        [page for (page,) in answer.values()] if isinstance(answer, dict) else [page for _, page in answer]
    )
    return [(entry_id.decode(), fields.get(b"event", b"")) for page in found for entry_id, fields in page]


def _says_removed(entries: list[tuple[bytes, Any]]) -> bool:
    try:
        return any(Event.model_validate_json(fields[b"event"]).type == "removed" for _, fields in entries)
    except (KeyError, ValidationError):
        return False


def _newest(entries: list[tuple[bytes, Any]]) -> str:
    return entries[0][0].decode() if entries else START


def _numbers(entry_id: str) -> tuple[int, ...]:
    return tuple(map(int, entry_id.split("-")))
