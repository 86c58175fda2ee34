"""The event log in Redis, as a Bus hears it through either kind of client."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import pytest
import redis
import redis.asyncio

from microdose import keys
from microdose.errors import NotFound, Removed
from microdose.ids import new_id
from microdose.patience import Timeouts
from microdose_client.bus import Bus
from microdose_client.source import Heard
from tests.valkey import bus, redis_url

__all__ = ["bus", "redis_url"]
SEQUENCE = new_id()
KEY = keys.events(SEQUENCE)


@pytest.fixture(params=["url", "blocking", "resp3"])
def make(request: pytest.FixtureRequest, redis_url: str, bus: redis.Redis) -> Iterator[Bus]:
    if request.param == "url":
        yield Bus.connect(redis_url, Timeouts(read=2.0))
    elif request.param == "blocking":
        yield Bus(bus)
    else:
        with redis.Redis.from_url(redis_url, protocol=3, socket_timeout=2.0) as client:
            yield Bus(client)


def add(bus: redis.Redis, *numbers: int) -> None:
    for n in numbers:
        bus.xadd(KEY, {"event": str(n)}, id=f"{n}-0")


def test_what_was_said_and_what_will_be(make: Bus, bus: redis.Redis) -> None:
    add(bus, 1, 2, 3)

    async def listen() -> list[Heard]:
        found: list[Heard] = []
        async with aclosing(make.events(SEQUENCE, "1-0")) as events:
            async for heard in events:
                if heard is None:  # silence: say more
                    add(bus, 7)
                else:
                    found.append(heard)
                    if heard.id == "7-0":
                        break
        await make.close()
        return found

    assert asyncio.run(listen()) == [Heard("2-0", b"2"), Heard("3-0", b"3"), Heard("7-0", b"7")]


def test_a_log_that_was_lost_and_began_anew_is_noticed(make: Bus, bus: redis.Redis) -> None:
    add(bus, 1, 2, 3)

    async def listen() -> Heard | None:
        async with aclosing(make.events(SEQUENCE, "90-0")) as events:
            first = await anext(events)
        await make.close()
        return first

    assert asyncio.run(listen()) == Heard("3-0", None)


@pytest.mark.parametrize(
    ("event", "error"), [(b'{"seq":9,"type":"removed"}', Removed), (b"{", NotFound), (None, NotFound)]
)
def test_a_removed_sequence_is_told_from_one_that_never_was(
    make: Bus, bus: redis.Redis, event: bytes | None, error: type[NotFound]
) -> None:
    if event is not None:
        bus.xadd(KEY, {"event": event}, id="9-0")

    async def ask() -> None:
        try:
            await make.manifest(SEQUENCE)
        finally:
            await make.close()

    with pytest.raises(NotFound) as caught:
        asyncio.run(ask())
    assert type(caught.value) is error
