"""The server's only way to a Redis connection.

redis-py 8 gives every socket a timeout of 5 s, and a blocking read that waits longer than its socket may
raises after a minute of inner retries in place of returning empty. So a connection is made here, for a
stated longest wait, and nowhere else.
"""

import time
from collections.abc import Callable, Mapping
from typing import TypeVar

import redis
from redis.backoff import ExponentialBackoff
from redis.retry import Retry

from microdose.errors import Unavailable

Fields = dict[
    bytes | bytearray | memoryview | str | int | float, bytes | bytearray | memoryview | str | int | float
]
"""What is written to a hash, in the terms of redis-py's annotations."""
Reply = Mapping[bytes | str, bytes | str] | Mapping[bytes, bytes]
"""What is read from one."""
Entries = list[tuple[bytes, dict[bytes, bytes]]]
"""A part of a stream: id and fields."""

CONNECT_S = 5.0
COMMAND_S = 10.0
RETRIES = 2
PATIENCE_S = 60.0
"""How long work that is done waits for a Redis that went away."""
PAUSE_S = 1.0

T = TypeVar("T")

LOST = (redis.ConnectionError, redis.TimeoutError)
"""What redis-py raises when the server is gone, loading or too slow."""


def connect(url: str, *, block_s: float | None = None) -> redis.Redis:
    """A client of the server at `url` (redis://, rediss:// or unix://); it connects at its first command.

    Args:
        url: where the server is.
        block_s: the longest wait a blocking command of this client asks for, in seconds.

    Raises:
        Unavailable: the URL is not one of a Redis server.
    """
    try:
        client = redis.Redis.from_url(
            url,
            socket_connect_timeout=CONNECT_S,
            socket_timeout=COMMAND_S + (block_s or 0.0),
            health_check_interval=30,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.05), RETRIES),
        )
        pool = client.connection_pool
        pool.connection_class(**pool.connection_kwargs)  # else an unknown option shows at the first command
        str(pool.connection_kwargs.get("host")).encode("idna")  # and so does a host that cannot be one
        return client
    except (ValueError, TypeError) as error:
        raise Unavailable(f"cannot use the Redis URL {redacted(url)}: {error}") from None


def patiently(action: Callable[[], T], seconds: float = PATIENCE_S) -> T:
    """`action`, tried until Redis answers, for at most `seconds`; it must bear repetition."""
    deadline = time.monotonic() + seconds
    while True:
        try:
            return action()
        except LOST:
            if time.monotonic() > deadline:
                raise
            time.sleep(PAUSE_S)


def text(value: object) -> str:
    """A string that Redis answered, whose type redis-py leaves open."""
    return value.decode() if isinstance(value, bytes) else str(value)


def ping(client: redis.Redis) -> None:
    """Return when the server answers.

    Raises:
        Unavailable: it does not; the message says where it was looked for.
    """
    try:
        client.ping()
    except redis.RedisError as error:
        raise Unavailable(
            f"no Redis at {address(client)}: {error}; start it, or correct REDIS_URL"
        ) from error


def address(client: redis.Redis) -> str:
    """Where this client's server is, without any password."""
    where = client.connection_pool.connection_kwargs
    return str(where.get("path") or f"{where.get('host', 'localhost')}:{where.get('port', 6379)}")


def redacted(url: str) -> str:
    """`url` without the user and password in it."""
    scheme, separator, rest = url.partition("://")
    return scheme + separator + rest.rpartition("@")[2]
