import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from pathlib import Path

import pytest
import redis
from hypothesis import given
from hypothesis import strategies as st

from microdose_server.api.pump import BLOCK_S, PAGE, QUEUE, Entry, Pump, StreamLost, is_later, parse_id
from microdose_server.store.embedded import EmbeddedValkey
from microdose_server.store.redis import connect

KEY = "a stream"


def add(bus: redis.Redis, first: int, last: int, key: str = KEY) -> None:
    with bus.pipeline(transaction=False) as pipeline:
        for n in range(first, last):
            pipeline.xadd(key, {"event": str(n)}, id=f"{n}-0")
        pipeline.execute()


@asynccontextmanager
async def pumping(redis_url: str) -> AsyncIterator[Pump]:
    with connect(redis_url, block_s=BLOCK_S) as client:
        async with Pump(client) as pump:
            yield pump


async def take(entries: AsyncIterator[Entry | None], count: int) -> list[int]:
    """The numbers of so many entries; silences are passed over."""
    found: list[int] = []
    while len(found) < count:
        if entry := await anext(entries):
            found.append(int(entry.data))
    return found


def test_entries_come_once_and_in_order_across_log_and_live(bus: redis.Redis, redis_url: str) -> None:
    async def scenario() -> None:
        add(bus, 1, 2 * PAGE)
        async with pumping(redis_url) as pump, aclosing(pump.follow(KEY, "3-0", quiet_s=60)) as entries:
            assert await take(entries, 2 * PAGE - 4) == list(range(4, 2 * PAGE))
            for n in range(2 * PAGE, 2 * PAGE + 20):
                add(bus, n, n + 1)
                assert await take(entries, 1) == [n]

    asyncio.run(scenario())


def test_listeners_join_and_leave_on_their_own(bus: redis.Redis, redis_url: str) -> None:
    async def scenario() -> None:
        async with pumping(redis_url) as pump, aclosing(pump.follow(KEY, quiet_s=60)) as early:
            add(bus, 1, 10)
            assert await take(early, 9) == list(range(1, 10))
            async with aclosing(pump.follow(KEY, quiet_s=60)) as late:
                assert await take(late, 9) == list(range(1, 10))
                add(bus, 10, 20)
                assert await take(late, 10) == await take(early, 10) == list(range(10, 20))
                async with aclosing(pump.follow("another", quiet_s=60)) as other:
                    add(bus, 1, 3, key="another")
                    assert await take(other, 2) == [1, 2]
            assert pump.listening == 1
            add(bus, 20, 30)
            assert await take(early, 10) == list(range(20, 30))

    asyncio.run(scenario())


def test_who_falls_behind_loses_nothing_and_delays_nobody(bus: redis.Redis, redis_url: str) -> None:
    count = 3 * QUEUE

    async def scenario() -> None:
        async with AsyncExitStack() as stack:
            pump = await stack.enter_async_context(pumping(redis_url))
            slow = await stack.enter_async_context(aclosing(pump.follow(KEY, quiet_s=60)))
            quick = await stack.enter_async_context(aclosing(pump.follow(KEY, quiet_s=60)))
            add(bus, 1, 2)
            assert await take(slow, 1) == await take(quick, 1) == [1]
            started = asyncio.create_task(take(slow, 1))  # it listens, takes one, and then no more
            add(bus, 2, count)
            assert await take(quick, count - 2) == list(range(2, count))
            assert await started == [2]
            assert await take(slow, count - 3) == list(range(3, count))

    asyncio.run(scenario())


def test_silence_is_told(bus: redis.Redis, redis_url: str) -> None:
    async def scenario() -> None:
        async with pumping(redis_url) as pump, aclosing(pump.follow(KEY, quiet_s=0.01)) as entries:
            assert [await anext(entries), await anext(entries)] == [None, None]
            add(bus, 1, 2)
            assert await take(entries, 1) == [1]

    asyncio.run(scenario())


def test_a_cut_connection_costs_nothing(bus: redis.Redis, redis_url: str) -> None:
    async def scenario() -> None:
        async with pumping(redis_url) as pump, aclosing(pump.follow(KEY, quiet_s=60)) as entries:
            for n in range(1, 6):
                add(bus, n, n + 1)
                assert await take(entries, 1) == [n]
                bus.client_kill_filter(_type="normal", skipme=True)

    asyncio.run(scenario())


@pytest.mark.parametrize("begun_anew", [False, True])
def test_a_stream_that_is_gone_is_told_to_all_who_follow_it(
    bus: redis.Redis, redis_url: str, begun_anew: bool
) -> None:
    async def scenario() -> None:
        add(bus, 1, 10)
        add(bus, 1, 10, key="another")
        async with AsyncExitStack() as stack:
            pump = await stack.enter_async_context(pumping(redis_url))
            first, second, other = [
                await stack.enter_async_context(aclosing(pump.follow(key, quiet_s=60)))
                for key in (KEY, KEY, "another")
            ]
            for entries in (first, second, other):
                assert await take(entries, 9) == list(range(1, 10))
            waiting = [asyncio.create_task(take(entries, 1)) for entries in (first, second, other)]
            bus.delete(KEY)
            if begun_anew:
                add(bus, 1, 3)
            for task in waiting[:2]:
                with pytest.raises(StreamLost, match="a stream does not reach 9-0 any more"):
                    await task
            add(bus, 10, 11, key="another")
            assert await waiting[2] == [10]
            async with aclosing(pump.follow(KEY, "2-0", quiet_s=60)) as entries:
                add(bus, 3, 5)
                assert await take(entries, 2) == [3, 4]

    asyncio.run(scenario())


def test_a_redis_that_comes_back_empty_is_told_too(tmp_path: Path) -> None:
    async def scenario() -> None:
        valkey = EmbeddedValkey(tmp_path)
        valkey.start()
        async with pumping(valkey.url) as pump, aclosing(pump.follow(KEY, quiet_s=60)) as entries:
            with connect(valkey.url) as bus:
                add(bus, 1, 3)
            assert await take(entries, 2) == [1, 2]
            waiting = asyncio.create_task(take(entries, 1))
            valkey.stop()
            shutil.rmtree(tmp_path / "redis")
            with EmbeddedValkey(tmp_path), pytest.raises(StreamLost):
                await waiting

    asyncio.run(scenario())


def test_a_stream_that_says_nothing_is_not_lost(bus: redis.Redis, redis_url: str) -> None:
    async def scenario() -> None:
        add(bus, 1, 3)
        async with pumping(redis_url) as pump, aclosing(pump.follow(KEY, "2-0", quiet_s=0.05)) as entries:
            for _ in range(50):  # two looks, by their interval
                assert await anext(entries) is None
            add(bus, 3, 4)
            assert await take(entries, 1) == [3]

    asyncio.run(scenario())


def test_draining_ends_every_listener(bus: redis.Redis, redis_url: str) -> None:
    async def listen(pump: Pump) -> list[Entry | None]:
        return [entry async for entry in pump.follow(KEY, quiet_s=60)]

    async def scenario() -> None:
        async with pumping(redis_url) as pump:
            listeners = [asyncio.create_task(listen(pump)) for _ in range(50)]
            while pump.listening < 50:
                await asyncio.sleep(0)
            pump.drain()
            assert await asyncio.gather(*listeners) == 50 * [[]]
            assert await listen(pump) == []

    asyncio.run(scenario())


def test_the_newest_id_of_a_stream(bus: redis.Redis, redis_url: str) -> None:
    async def scenario() -> None:
        async with pumping(redis_url) as pump:
            assert await pump.last_id(KEY) == "0-0"
            add(bus, 1, 4)
            assert await pump.last_id(KEY) == "3-0"

    asyncio.run(scenario())


@given(*2 * [st.tuples(*2 * [st.integers(0, 2**64 - 1)])])
def test_ids_are_ordered_as_redis_orders_them(one: tuple[int, int], other: tuple[int, int]) -> None:
    assert is_later(f"{one[0]}-{one[1]}", f"{other[0]}-{other[1]}") == (one > other)
    assert parse_id(str(one[0])) == (one[0], 0)


@pytest.mark.parametrize("text", ["", "-", "1-", "x", "+1-0", "1_0-0", "٣-0", "1-2-3", f"{2**64}", "-1-0"])
def test_what_is_no_id_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"."):
        parse_id(text)
