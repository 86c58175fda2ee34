"""Published bytes straight from Redis: the snapshot and the hot copies of blobs, nothing else.

The only module that imports redis. It reads `md:pub:*` keys with GETRANGE alone, so that a viewer's ACL user
is enough and a value of the wrong size costs no memory. Every wait is bounded: redis-py's own defaults would
let an unreachable server hold a call for about a minute.
"""

import math
from typing import cast

import redis
from redis.backoff import ExponentialBackoff
from redis.exceptions import AuthenticationError, AuthorizationError, NoPermissionError, RedisError
from redis.retry import Retry

from microdose import keys
from microdose.base import Descriptor
from microdose.errors import NotFound, Unavailable
from microdose.manifest import MAX_MANIFEST_BYTES
from microdose.problem import ProblemError, make_problem
from microdose_client.patience import TIMEOUTS, Timeouts

Redis = redis.Redis


class Bus:
    """A Redis that holds published sequences. Safe to share between threads."""

    def __init__(self, client: Redis, owned: bool = False) -> None:
        """Reads through `client`, which must not decode responses; whoever owns it sets its timeouts."""
        self._redis, self._owned = client, owned
        where = client.connection_pool.connection_kwargs
        self.name = f"Redis at {where.get('path') or '{}:{}'.format(where.get('host'), where.get('port'))}"

    @classmethod
    def connect(cls, url: str, timeouts: Timeouts = TIMEOUTS) -> "Bus":
        """The Redis at a redis://, rediss:// or unix:// URL, else Unavailable; connects at the first read."""
        try:
            client = Redis.from_url(
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

    def close(self) -> None:
        """Close every connection, unless they are somebody else's."""
        if self._owned:
            self._redis.close()

    def manifest(self, sequence: str) -> bytes:
        """The sequence's snapshot, as JSON."""
        data = self._read(keys.manifest(sequence), MAX_MANIFEST_BYTES + 1)
        if not data:
            raise NotFound(f"{self.name} has no published sequence {sequence!r}")
        return data

    def blob(self, descriptor: Descriptor) -> bytes:
        """The bytes of a blob put together from its chunks, not verified yet."""
        data = bytearray()
        for i in range(math.ceil(descriptor.size / keys.CHUNK)):
            chunk = self._read(keys.blob_chunk(descriptor.digest, i), keys.CHUNK)
            if not chunk:
                raise NotFound(f"{self.name} has no copy of blob {descriptor.digest} (chunk {i} is missing)")
            data += chunk
            if len(chunk) < keys.CHUNK:
                break
        return bytes(data)

    def _read(self, key: str, limit: int) -> bytes:
        """At most `limit` bytes of a string key; empty if there is no such key."""
        try:
            return cast(bytes, self._redis.getrange(key, 0, limit - 1))
        except (AuthenticationError, AuthorizationError) as error:
            detail = f"{self.name} does not accept this user and password: {error}"
            raise ProblemError(make_problem("unauthorized", detail)) from error
        except NoPermissionError as error:
            detail = f"{self.name} does not let this user read sequences: {error}"
            raise ProblemError(make_problem("forbidden", detail)) from error
        except RedisError as error:
            raise Unavailable(
                f"cannot read from {self.name}: {error}; is it running, and the right one?"
            ) from error
